#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <oncelog/testing.h>

#include "engine/engine.h"
#include "engine/reader.h"
#include "shared/tally.h"

namespace oncelog::internal {

/// The engine behind oncelog::testing::open_in_memory: the same answers from ordered maps under one mutex. It is the
/// second implementation of Engine, and shows what every other one has to keep.
class MemoryEngine final : public Engine {
 public:
  MemoryEngine(const Options& options, std::shared_ptr<const testing::FakeClock> clock);

  const Options& options() const override { return options_; }
  ScopeKey scope(std::string_view name) override;
  std::vector<std::string> scopes() override;

  bool contains(ScopeKey scope, std::string_view id) override;
  void contains(ScopeKey scope, std::span<const std::string_view> ids, std::span<bool> out) override;
  bool contains(ScopeKey scope, std::string_view id, std::string_view correlation) override;
  std::optional<Record> find(const ScopeRef& scope, std::string_view id) override;
  void find(const ScopeRef& scope, std::span<const std::string_view> ids,
            std::span<std::optional<Record>> out) override;
  std::vector<Record> correlated(std::string_view correlation) override;
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) override;
  Time known_since() const override;

  Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes, Ack ack) override;
  void mark(const ScopeRef& scope, std::span<const std::string_view> ids, std::span<const Attributes> attributes,
            std::span<Marked> out, Ack ack) override;
  Imported import(std::span<const Record> records) override;
  bool forget(ScopeKey scope, std::string_view id, Ack ack) override;

  Begun begin(const ScopeRef& scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
              std::chrono::milliseconds patience, HeldLease& held) override;
  Lsn begin(const ScopeRef& scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
            std::span<Verdict> out, std::vector<HeldLease>& held) override;
  bool wait_until_free(ScopeKey scope, std::string_view id, std::chrono::milliseconds patience) override;
  Lsn complete(std::span<HeldLease> held, std::span<const Attributes> attributes, Ack ack) override;
  bool renew(const HeldLease& held, std::chrono::milliseconds lease) override;
  void abandon(std::span<const HeldLease> held) override;
  bool lock(std::string_view name, std::chrono::milliseconds lease, std::chrono::milliseconds patience, HeldLease& held,
            std::optional<ClaimOwner>& owner) override;
  void unlock(const HeldLease& held) override;
  bool release(ScopeKey scope, std::string_view id) override;
  std::vector<ClaimInfo> claims() override;

  Lsn durable() const override;
  void wait(Lsn lsn) override;
  void wait_for_standing(Lsn lsn) override { wait(lsn); }
  void check_may_wait(Ack ack) const override;
  void sync() override { check_not_in_transaction("sync"); }
  Expired expire() override;

  void transact(const std::function<void(Transaction&)>& work) override;
  std::optional<std::string> get(std::string_view table, std::string_view key) override;
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) override;

  Metrics metrics() override;
  VerifyReport verify(const VerifyOptions& options, const VerifyProgressHook& progress) override;
  BackupReport backup(const std::filesystem::path& directory) override;

 private:
  class Body;

  using Key = std::pair<std::uint32_t, std::string>;  // Scope and id.
  using Tables = std::map<std::pair<std::string, std::string>, std::string>;
  struct Claimed {
    std::uint64_t token;
    Time deadline;
    OrphanPolicy orphans;
    std::uint64_t fingerprint = 0;
    bool of_transaction = false;  // Its lease does not expire before the transaction has ended.
  };
  struct Decided {
    Marked marked;
    std::optional<Record> record;  // Of a duplicate or conflict.
    std::optional<ClaimOwner> owner;
  };

  // All under the mutex.
  const Record* processed(const Key& key) const;
  Claimed* held(const Key& key);
  Claimed* held(const HeldLease& lease);
  /// Everything but what is done with a fresh id.
  Decided look(const Key& key, const Attributes* given);
  Decided try_to_claim(const Key& key, const Attributes* given, const ClaimTerms& terms, HeldLease& lease);
  HeldLease take(const Key& key, const ClaimTerms& terms, std::uint64_t fingerprint = 0);
  Lsn accept(std::uint32_t scope, std::string_view id, const Attributes& given, bool forgotten = false);
  bool free(const HeldLease& lease);
  Time now() const { return std::max(clock_->now(), last_time_); }

  /// Waits, without the mutex, until a claim is freed or may have expired; false when the limit has passed.
  bool wait_for_claim(std::unique_lock<std::mutex>& lock, std::chrono::steady_clock::time_point limit);
  /// Counts and tells; without the mutex, which the hook may want.
  void report(const ScopeRef& scope, std::span<const std::string_view> ids, std::span<const Attributes> attributes,
              std::span<const Decided> decided);
  void check_not_in_transaction(const char* what) const;

  const Options options_;
  const std::shared_ptr<const testing::FakeClock> clock_;
  const std::chrono::microseconds retention_;

  mutable std::mutex mutex_;
  std::condition_variable freed_;
  std::map<std::string, std::uint32_t, std::less<>> scopes_;
  std::map<std::uint64_t, Record> log_;  // By LSN.
  std::map<Key, std::uint64_t> newest_;  // LSN of the id's newest record, notes that it is forgotten included.
  std::map<Key, Claimed> claims_;
  Tables tables_;
  Time last_time_{};
  std::uint64_t head_ = 8;
  std::uint64_t last_token_ = 0;
  std::uint64_t transactions_ = 0;
  ThreadTally counters_;

  std::mutex writer_;  // Held by the one transaction; before mutex_.
  std::atomic<std::thread::id> transacting_{};
};

}  // namespace oncelog::internal
