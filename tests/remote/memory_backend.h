#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "remote/backend.h"

namespace oncelog::testing {

namespace remote = internal::remote;

/// What every shared engine has to answer, in the plainest form: maps under one mutex, with a clock that the test sets,
/// and connections that are lost when the test says so. Thread-safe, but for on_call.
class MemoryBackend final : public remote::Backend {
 public:
  struct Settings {
    std::chrono::microseconds retention = std::chrono::hours{24};
    Time now{std::chrono::microseconds{1'800'000'000'000'000}};  // In January 2027.
    std::uint64_t first_generation = 1;                          // Another store has another one.
  };
  MemoryBackend() : MemoryBackend(Settings{}) {}
  explicit MemoryBackend(const Settings& settings) : settings_(settings), now_(settings.now) {}

  // --- What a test decides
  void advance(std::chrono::microseconds by);
  /// Where an answer gets lost: before the server has done what was asked, or after.
  enum class Lost : std::uint8_t { before, after };
  /// A coming call throws ConnectionLost: the next one, or one after so many others.
  void lose(Lost lost, std::uint64_t others = 0);
  /// Takes back what was ordered and has not happened.
  void lose_nothing();
  /// Called at the beginning of each call with its name and how many ids it has, without the mutex. What it throws is
  /// what the call throws. Set while no thread calls.
  std::function<void(std::string_view call, std::size_t ids)> on_call;
  /// How many calls there were, and with how many ids.
  std::uint64_t calls() const;
  std::uint64_t ids_asked() const;

  // --- Backend
  std::chrono::microseconds retention() const override { return settings_.retention; }
  std::string_view name() const override { return "memory://"; }

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override;
  void mark(std::string_view scope, std::span<const remote::Ask> asked, Ack ack, const remote::Attempt& attempt,
            std::span<remote::Answer> out) override;
  void claim(std::string_view scope, std::span<const remote::Ask> asked, const remote::Terms& terms,
             const remote::Attempt& attempt, std::span<remote::Answer> out) override;
  void complete(std::string_view scope, std::span<const remote::Held> held, Ack ack, const remote::Attempt& attempt,
                std::span<remote::Stamp> out) override;
  bool renew(std::string_view scope, const remote::Held& held, std::chrono::milliseconds lease) override;
  std::size_t abandon(std::string_view scope, std::span<const remote::Held> held) override;
  void import(std::string_view scope, std::span<const Record> records, std::span<remote::ImportOutcome> out) override;
  bool forget(std::string_view scope, std::string_view id, Ack ack, const remote::Attempt& attempt) override;
  bool release(std::string_view scope, std::string_view id, const remote::Attempt& attempt) override;
  std::optional<ClaimOwner> holder(std::string_view scope, std::string_view id) override;
  remote::Pulse pulse(std::string_view scope) override;

  std::vector<std::string> scopes() override;
  std::vector<ClaimInfo> claims() override;
  Time known_since() override;
  std::vector<Record> correlated(std::string_view correlation) override;
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) override;
  std::uint64_t records() override;

  void flush() override;
  Expired upkeep() override;

  std::unique_ptr<remote::Work> begin_work() override;
  std::optional<std::string> get(std::string_view table, std::string_view key) override;
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) override;

 private:
  class MemoryWork;
  using Key = std::pair<std::string, std::string>;  // Scope and id, or table and key.
  using Tables = std::map<Key, std::string>;
  using Own = std::set<std::pair<Key, remote::Attempt>>;
  struct Entry {
    Record record;
    std::optional<remote::Attempt> attempt;  // Of the mark or completion that made it.
  };
  struct Claimed {
    std::uint64_t token;
    Time deadline;
    OrphanPolicy orphans;
    std::optional<remote::Attempt> attempt;
    std::uint64_t fingerprint = 0;
    bool of_work = false;  // It does not expire before the transaction ends.
  };

  /// One call: what happens to it on its way, and `body` under the mutex.
  template <typename Body>
  auto call(std::string_view name, std::size_t ids, Body body);

  // All under the mutex.
  Time first_known() const { return now_ - settings_.retention + std::chrono::microseconds{1}; }
  void use_scope(std::string_view scope);
  const Entry* processed(const Key& key) const;
  Claimed* held(const Key& key);
  Claimed* held(const Key& key, std::uint64_t token);
  remote::Answer look(const Key& key, const Attributes* given);
  remote::Answer mark_one(const Key& key, const Attributes* given, const remote::Attempt& attempt, Own& own);
  remote::Answer claim_one(const Key& key, const remote::Ask& ask, const remote::Terms& terms,
                           const remote::Attempt& attempt, Own& own);
  remote::Stamp accept(const Key& key, const Attributes& given, std::optional<remote::Attempt> attempt,
                       bool forgotten = false);
  static void visit(const Tables& tables, std::string_view table, std::string_view from, const EntryVisitor& visitor);

  const Settings settings_;
  mutable std::mutex mutex_;
  Time now_;
  Time last_time_{};
  std::uint64_t head_ = 8;
  std::uint64_t last_token_ = 0;
  std::vector<std::string> scopes_;
  std::map<std::uint64_t, Entry> log_;   // By LSN.
  std::map<Key, std::uint64_t> newest_;  // LSN of the id's newest record, notes that it is forgotten included.
  std::map<Key, Claimed> claims_;
  std::map<std::string, std::uint64_t, std::less<>> forgotten_;  // How many ids, by scope.
  std::map<remote::Attempt, bool> outcomes_;                     // Of forget and release.
  Tables tables_;
  std::map<std::uint64_t, Lost> orders_;  // By the call's number.
  std::uint64_t calls_ = 0;
  std::uint64_t ids_asked_ = 0;

  std::mutex writer_;  // Held by the one transaction; before mutex_.
};

}  // namespace oncelog::testing
