#pragma once

#include <algorithm>
#include <cstdint>

#include "host.h"

namespace oncelog::internal {

/// The store's two readings of time. A wall clock that jumps against the boot clock is a fault, not time passing, and
/// nobody can know which of the two was right: records are stamped with the later of both, retention is measured by the
/// earlier one. So an id may be remembered for longer than its retention, and never for less. Thread-safe; 50 ns.
class Clock {
 public:
  /// `offset_us`: wall minus boot clock when the shared memory was made.
  Clock(const Host& host, std::int64_t offset_us) : host_(&host), offset_us_(offset_us) {}

  /// For processed_at: the wall clock, but never behind what the boot clock says has passed.
  std::int64_t stamp_us() const { return std::max(host_->wall_us(), host_->boot_us() + offset_us_); }

  /// For retention: the wall clock, but never ahead of what the boot clock allows.
  std::int64_t retention_us() const { return std::min(host_->wall_us(), host_->boot_us() + offset_us_); }

  /// How far the wall clock is ahead of the boot clock; up to kNoiseUs is the noise of two readings, more is a fault.
  static constexpr std::int64_t kNoiseUs = 1'000'000;
  std::int64_t fault_us() const {
    return std::max<std::int64_t>(0, host_->wall_us() - (host_->boot_us() + offset_us_));
  }

 private:
  const Host* host_;
  std::int64_t offset_us_;
};

}  // namespace oncelog::internal
