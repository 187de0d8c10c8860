#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.h"
#include "lmdb/handles.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// What has to be ready before a producer asks for it, and gone after its time: makes index tables and filter
/// generations ahead, drops buckets past their retention, sweeps their lanes. Does the I/O that producers must not do
/// under the store's mutex.
///
/// All of it happens under LMDB's write lock, so that one process at a time does it; the layout changes under the
/// store's mutex as well, which is held for microseconds. A death at any point leaves a layout that the next one goes
/// on from. Thread-safe.
class Upkeep {
 public:
  /// What a producer cannot go on without.
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

  /// Whether there is something to do. Takes no lock of the store's.
  bool due();
  /// One bounded round if there is something to do; true when it has more. For the background.
  bool tick();

  /// Rounds until the demand is met, or nothing more can be done for it.
  void serve(Demand demand);
  /// The same for who holds the gate and LMDB's write lock already.
  void serve_locked(Demand demand);

  /// Drops and sweeps all that is past its retention; returns how many buckets.
  std::uint64_t expire();

  /// Forgets the oldest bucket before its time, for who holds LMDB's write lock and needs its room. The current one
  /// stays: false when it is the only one.
  bool drop_early();

 private:
  static constexpr std::uint64_t kSweepLines = 1024;           // Under the mutex at a time: 64 KiB, some microseconds.
  static constexpr std::uint64_t kSweepLinesARound = 1 << 16;  // Under LMDB's write lock at a time: 4 MiB.

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

  /// Changes the layout in force under the store's mutex, if `change(layout)` says so.
  template <typename Change>
  bool update(Change change);

  const lmdb::Env& env_;
  const SharedState& state_;
  SharedHeader& live_;
  ViewCache& views_;
  const BucketRules& rules_;
  const Clock& clock_;
  const std::chrono::milliseconds flush_interval_;

  // Under LMDB's write lock. How far this process has swept; another one that takes over begins anew.
  std::uint64_t swept_drops_ = 0;
  std::uint64_t swept_generation_ = 0;
  std::uint64_t swept_lines_ = 0;
  std::uint64_t tidied_epoch_ = ~std::uint64_t{0};
};

}  // namespace oncelog::internal
