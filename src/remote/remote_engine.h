#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/remote.h>

#include "background/event_dispatch.h"
#include "engine/engine.h"
#include "remote/ask_again.h"
#include "remote/backend.h"
#include "remote/durable_watermark.h"
#include "remote/running_work.h"
#include "shared/tally.h"

namespace oncelog::internal::remote {

/// The engine behind oncelog::remote::open: what the public classes promise, from a Backend. It checks arguments, asks
/// again when a connection was lost, waits for claims by asking now and then, counts, and calls the hooks. A thread of
/// its own has the server give space back, and asks it to flush what was not waited for, so that durable() rises.
///
/// An LSN is the server's. durable() is about this process: whatever it was told of below that LSN is on the server's
/// disk.
class RemoteEngine final : public Engine {
 public:
  /// `events` are null where nobody wants to know.
  RemoteEngine(std::shared_ptr<Backend> backend, const oncelog::remote::Options& options,
               std::shared_ptr<EventDispatch> events);
  ~RemoteEngine() override;

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
  void wait_for_standing(Lsn) override {}  // complete() has waited.
  void check_may_wait(Ack ack) const override;
  void sync() override;
  Expired expire() override;

  void transact(const std::function<void(Transaction&)>& work) override;
  std::optional<std::string> get(std::string_view table, std::string_view key) override;
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) override;

  Metrics metrics() override;
  VerifyReport verify(const VerifyOptions& options, const VerifyProgressHook& progress) override;
  BackupReport backup(const std::filesystem::path& directory) override;

 private:
  class Body;
  struct Told;
  using Steady = std::chrono::steady_clock;

  template <typename AskServer>
  auto answered(const AskServer& ask) const {
    return ask_again(asked_.timeout, backend_->name(), ask);
  }

  void check_usable() const;
  void check_writable() const;
  void check_not_in_transaction(const char* what) const;
  std::string name_of(std::uint32_t scope) const;

  void claim(const std::string& scope, std::span<const Ask> asked, const Terms& terms, std::span<Answer> out);
  void report(const ScopeRef& scope, std::span<const std::string_view> ids, std::span<const Attributes> attributes,
              std::span<const Answer> answers);
  void count(std::uint32_t scope, IdEvent event);
  template <typename AskServer>
  Lsn committed(Ack ack, const AskServer& ask);
  void flush(std::chrono::milliseconds timeout);
  void work_in_background();

  const oncelog::remote::Options asked_;
  Options options_;
  const std::shared_ptr<Backend> backend_;
  const std::uint64_t forks_;
  const std::shared_ptr<EventDispatch> events_;

  mutable std::mutex mutex_;  // Of all that follows but the atomics.
  std::map<std::string, std::uint32_t, std::less<>> scopes_;
  std::vector<std::string> names_;  // By number, from 1.
  ThreadTally counters_;
  std::uint64_t transactions_ = 0;
  std::string last_error_;
  bool closing_ = false;
  std::condition_variable wake_;

  DurableWatermark watermark_;

  std::thread background_;  // Last: it uses the others.
};

}  // namespace oncelog::internal::remote
