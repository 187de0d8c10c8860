#pragma once

#include <chrono>
#include <memory>
#include <mutex>

#include <oncelog/options.h>
#include <oncelog/store.h>
#include <oncelog/version.h>

namespace oncelog::testing {

/// A clock that stands still until a test moves it. Thread-safe.
class FakeClock {
 public:
  /// Begins at that time, by default in 2019.
  explicit FakeClock(Time now = Time{std::chrono::hours{24 * 365 * 50}}) : now_(now) {}

  /// What the clock shows.
  Time now() const {
    const std::lock_guard guard(mutex_);
    return now_;
  }
  /// Time passes.
  void advance(std::chrono::microseconds by) {
    const std::lock_guard guard(mutex_);
    now_ += by;
  }

 private:
  mutable std::mutex mutex_;
  Time now_;
};

/// A store in memory, for unit tests of consumers: no directory, no disk, no background. Its handles are those of any
/// store, and every call answers as it does on disk: verdicts, claims, locks, transactions, attributes, correlations,
/// hooks and limits. What is different:
///   - Time is `clock`'s: retention, leases, Record::processed_at. Where none is given the clock stands still.
///     `patience` is real time, so that a wait which nobody ends still times out; a lease that expires ends such a wait
///     within a millisecond of the clock's being advanced.
///   - Nothing is ever waited for on disk: what is accepted is durable, and gone with the last handle.
///   - Each call makes a store of its own, of one process: no owner dies.
///   - Store::backup throws Error::unsupported, Store::verify finds nothing, Store::metrics counts ids alone.
///   - Limits that follow from ring_bytes and max_bytes are not enforced: of results, and of a transaction's records.
///   - Of the options it knows retention, ack, on_decision and max_claims; others are checked and have no effect.
/// Thread-safe as any store; every call takes one mutex and O(log n).
ONCELOG_API Store open_in_memory(const Options& options = {}, std::shared_ptr<const FakeClock> clock = nullptr);

}  // namespace oncelog::testing
