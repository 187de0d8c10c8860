#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/host.h"
#include "base/store_locks.h"

namespace oncelog::internal {

/// What the store's time is measured from; in shared memory. `offset_us` is read by anyone, at any time; everything is
/// written under the store's mutex. Relaxed throughout: an old offset makes a store remember longer, never shorter.
struct ClockAnchor {
  std::atomic<std::int64_t> offset_us;       // Wall clock minus boot clock, as far as it is believed.
  std::atomic<std::int64_t> apart_since_us;  // Boot clock: since when the wall clock is off to one side; 0: it is not.
  std::atomic<std::int64_t> least_apart_us;  // By how much at least since then; negative when it is behind.

  /// All within the times that records can have, so that sums of them are numbers; anything else is damage.
  bool possible() const;
};

/// The store's two readings of time. A wall clock that jumps against the boot clock is a fault, not time passing, and
/// nobody can know at once which of the two was right: records are stamped with the later of both, retention is
/// measured by the earlier one. So an id may be remembered for longer than its retention, and never for less.
///
/// A wall clock that stays where it jumped to was set right: settle() then moves the anchor after it. Thread-safe;
/// a reading takes 50 ns.
class Clock {
 public:
  /// `anchor` outlives the clock.
  Clock(const Host& host, const ClockAnchor& anchor) : host_(&host), anchor_(&anchor) {}

  /// For processed_at: the wall clock, but never behind what the boot clock says has passed.
  std::int64_t stamp_us() const { return std::max(host_->wall_us(), anchored_us()); }

  /// For retention: the wall clock, but never ahead of what the boot clock allows.
  std::int64_t retention_us() const { return std::min(host_->wall_us(), anchored_us()); }

  std::int64_t boot_us() const { return host_->boot_us(); }

  /// How far the wall clock is ahead of the boot clock; up to kNoiseUs is the noise of two readings, more is a fault.
  static constexpr std::int64_t kNoiseUs = 1'000'000;
  std::int64_t fault_us() const { return std::max<std::int64_t>(0, apart_us()); }

  /// How long a jump must have lasted before it is believed: the retention, and an hour at least, so that a mistake
  /// which somebody corrects at once moves nothing.
  static constexpr std::int64_t kLeastSettleUs = std::int64_t{3600} * 1'000'000;
  static std::int64_t settle_time_us(std::int64_t retention_us) { return std::max(retention_us, kLeastSettleUs); }

  /// Whether settle() would change the anchor. Any thread, without a lock, so a hint.
  bool wants_settling(std::int64_t retention_us) const;

  /// Looks at both clocks, and moves the anchor once the wall clock has been ahead, or behind, for the settle time:
  /// by the least that it was off in that time. No id is forgotten early by that: a record from before the jump has
  /// been in the store for its retention by the boot clock, and one from after it was stamped by a clock that was
  /// ahead by at least as much. Jumps that follow each other are believed one after the other. Under the store's
  /// mutex, `anchor` is this clock's; to be called every flush interval or so while records are accepted.
  void settle(ClockAnchor& anchor, std::int64_t retention_us) const REQUIRES(kStoreMutex);

 private:
  std::int64_t anchored_us() const { return host_->boot_us() + anchor_->offset_us.load(std::memory_order_relaxed); }
  std::int64_t apart_us() const { return host_->wall_us() - anchored_us(); }

  const Host* host_;
  const ClockAnchor* anchor_;
};

}  // namespace oncelog::internal
