#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "lmdb/handles.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// Makes index tables and filter generations before producers need them, drops buckets past their retention, and sweeps
/// their lanes. Does the I/O that producers must not do under the store's mutex.
///
/// A round holds the writer gate and LMDB's write lock, so that one process at a time makes one. The layout and the
/// clock's anchor change under the store's mutex, which is held for microseconds; for the clock tick() takes it alone.
/// A death at any point leaves a layout from which the next process continues. Thread-safe.
class Upkeep {
 public:
  /// What a producer cannot continue without.
  enum class Demand { none, bucket, table };

  Upkeep(const lmdb::Env& env, const SharedState& state, ViewCache& views, const BucketRules& rules, const Clock& clock,
         std::chrono::milliseconds flush_interval)
      : env_(env),
        state_(state),
        live_(state.header()),
        views_(views),
        rules_(rules),
        clock_(clock),
        flush_interval_(flush_interval) {}

  /// Whether there is something to do. Takes none of the store's locks.
  bool due();
  /// Settles the clock, and makes one bounded round if there is something to do. Returns whether there is more. For the
  /// background.
  bool tick();

  /// Makes rounds until the demand is met or nothing more can be done for it.
  void serve(Demand demand);
  /// The same for a caller that already holds the writer gate and LMDB's write lock.
  void serve_locked(Demand demand);

  /// Drops and sweeps everything past its retention; returns how many buckets.
  std::uint64_t expire();

  /// Drops the oldest bucket before its time, for a caller that holds the writer gate and needs its room. Returns false
  /// if only the current bucket is left, which stays.
  bool drop_early();

 private:
  static constexpr std::uint64_t kSweepLines = 1024;           // In one hold of the mutex: 64 KiB, some microseconds.
  static constexpr std::uint64_t kSweepLinesARound = 1 << 16;  // In one hold of LMDB's write lock: 4 MiB.

  static constexpr std::chrono::microseconds kSweepPause{50};

  bool round(Demand demand, std::uint64_t* dropped = nullptr);
  bool round_locked(Demand demand, std::uint64_t* dropped = nullptr);
  bool met(Demand demand) const;
  bool oldest_is_past(const Layout& layout) const;
  std::int64_t newest_us_of_oldest(const Layout& layout) const;
  void settle_clock();
  bool known_since_to_settle() const;
  std::uint64_t drop_expired();
  void forget_oldest(Layout& layout);
  bool sweep();
  void make_table(bool demanded);
  void make_generation();
  void make_bucket(bool demanded);
  bool wants_table(const View& view) const;
  bool wants_generation(const View& view) const;
  bool wants_bucket(const Layout& layout) const;

  /// Publishes what change(layout) makes of the layout in force if it returns true, under the store's mutex. Returns
  /// whether it did.
  template <typename Change>
  bool update(Change change);

  const lmdb::Env& env_;
  const SharedState& state_;
  SharedHeader& live_;
  ViewCache& views_;
  const BucketRules& rules_;
  const Clock& clock_;
  const std::chrono::milliseconds flush_interval_;

  // Under the writer gate. How far this process has swept; another process that takes over begins at the start.
  std::uint64_t swept_drops_ = 0;
  std::uint64_t swept_generation_ = 0;
  std::uint64_t swept_lines_ = 0;
  std::uint64_t tidied_epoch_ = ~std::uint64_t{0};
};

}  // namespace oncelog::internal
