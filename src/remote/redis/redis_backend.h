#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/remote.h>

#include "remote/address.h"
#include "remote/backend.h"
#include "remote/redis/codec.h"
#include "remote/redis/history.h"
#include "remote/redis/keys.h"
#include "remote/redis/router.h"
#include "remote/redis/script_calls.h"

namespace oncelog::internal::remote {

/// A store on Redis or Valkey, one server or a cluster of them. All that is decided is decided by scripts on the server
/// that has the id's shard: one call for each shard of a batch, all of them in one round trip. A batch of more than
/// kMostIds in one shard, or of many bytes, takes another round trip for each further part, so that no script keeps the
/// server from others for long.
///
/// LSNs and tokens. On a single server both grow over the whole store. In a cluster each shard of a scope gives out its
/// own: of one id they always grow; LSNs of different shards are in the order of their servers' clocks, and tokens of
/// different ids cannot be compared.
///
/// A store opened first on a single server has one shard a scope, in a cluster 16; that stays with the store.
class RedisBackend final : public Backend {
 public:
  static constexpr std::size_t kMostIds = 1024;
  static constexpr std::size_t kMostBytes = std::size_t{4} << 20;
  static constexpr unsigned kClusterShards = 16;

  RedisBackend(const Address& address, const oncelog::remote::Options& options,
               std::shared_ptr<const ServerClock> clock);

  std::chrono::microseconds retention() const override { return settings_.retention; }
  std::string_view name() const override { return router_.name(); }

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override;
  void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
            std::span<Answer> out) override;
  void claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
             std::span<Answer> out) override;
  void complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& attempt,
                std::span<Stamp> out) override;
  bool renew(std::string_view scope, const Held& held, std::chrono::milliseconds lease) override;
  std::size_t abandon(std::string_view scope, std::span<const Held> held) override;
  void import(std::string_view scope, std::span<const Record> records, std::span<ImportOutcome> out) override;
  bool forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) override;
  bool release(std::string_view scope, std::string_view id, const Attempt& attempt) override;
  std::optional<ClaimOwner> holder(std::string_view scope, std::string_view id) override;
  Pulse pulse(std::string_view scope) override;

  std::vector<std::string> scopes() override;
  std::vector<ClaimInfo> claims() override;
  Time known_since() override;
  std::vector<Record> correlated(std::string_view correlation) override;
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) override;
  std::uint64_t records() override;

  bool has_one_log() const override { return !router_.is_cluster(); }
  void flush() override;
  Expired upkeep() override;

  std::unique_ptr<Work> begin_work() override;
  std::optional<std::string> get(std::string_view table, std::string_view key) override;
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) override;

 private:
  struct Settings {
    std::chrono::microseconds retention{0};
    unsigned shards = 1;
  };
  /// A batch, as run_batch() cuts it up.
  struct Batch {
    Script script;
    std::string terms;
    Ack ack = Ack::host;
    std::function<std::string_view(std::size_t)> id;
    /// What goes with each id; null when nothing does.
    std::function<void(std::size_t, std::string&)> argument = {};
    /// After that come the place of the correlation's key and the attributes; null when they do not matter.
    std::function<const Attributes*(std::size_t)> given = {};
    std::function<void(std::size_t, const ShardKeys&, std::string_view)> answered;
  };
  struct Part {
    ShardKeys keys;
    std::vector<std::size_t> ids;
    std::size_t bytes = 0;
  };

  Settings settle(const oncelog::remote::Options& options, const std::string& key);

  void run_batch(std::string_view scope, std::size_t count, const Batch& batch);
  /// The parts of each round trip.
  std::vector<std::vector<Part>> parts_of(std::string_view scope, std::size_t count, const Batch& batch) const;
  ShardCall call_of(const Part& part, const Batch& batch) const;
  ShardKeys keys_of(std::string_view scope, std::string_view id) const;
  /// Whether the state is to be written whatever is decided, so that there is something to wait for.
  std::uint64_t always(Ack ack) const { return ack == Ack::disk && router_.waits_for_writes() ? 1 : 0; }
  /// Makes a scope known, unless this client has done so already. Before its ids are decided on, and after that in
  /// case the server has forgotten it meanwhile.
  void enroll(std::string_view scope);
  Stamp stamp_of(const ShardKeys& keys, std::string_view id, std::string_view time_and_lsn);

  struct Shard {
    std::string scope;
    ShardKeys keys;
  };
  /// All shards that may have something: those of all scopes and, where wanted, of the locks.
  std::vector<Shard> all_shards(bool of_locks);
  std::int64_t now_us();
  Time oldest_kept() {
    return Time{std::chrono::microseconds{now_us()} - settings_.retention + std::chrono::microseconds{1}};
  }

  /// Visits all keys of records on one server, some of them twice, each with the head of what it holds. Returns how
  /// many keys of whatever kind it has seen; it ends after `most` of them, and `all` says whether there were no more.
  using HeadVisitor = std::function<void(std::string_view key, const Head&)>;
  std::uint64_t visit_heads(Node& node, std::uint64_t most, bool& all, const HeadVisitor& visitor);
  void flush(Node& node);
  /// Brings to the disk what was answered with Ack::disk by servers that sync each second: that takes one to three.
  void await_seconds(Ack ack);

  Router router_;
  const std::shared_ptr<const ServerClock> clock_;
  const std::chrono::milliseconds timeout_;
  const Settings settings_;
  const Keys keys_;
  History history_;
  ScriptCalls calls_;

  std::mutex mutex_;
  std::set<std::string, std::less<>> enrolled_;
  std::uint64_t enrolled_at_ = 0;  // How often history_ had looked then.
};

/// Opens the store at an address. Throws ConnectionLost when no server can be reached; the Errors of remote::open
/// otherwise.
std::unique_ptr<Backend> open_redis(const Address& address, const oncelog::remote::Options& options);

/// The same for tests, by their clock.
std::unique_ptr<Backend> open_redis(const Address& address, const oncelog::remote::Options& options,
                                    std::shared_ptr<const ServerClock> clock);

}  // namespace oncelog::internal::remote
