#include "base/clock.h"

#include <algorithm>

namespace oncelog::internal {
namespace {

bool beyond_noise(std::int64_t apart_us) {
  return apart_us > Clock::kNoiseUs || apart_us < -Clock::kNoiseUs;
}

}  // namespace

bool ClockAnchor::possible() const {
  const auto time = [](std::int64_t us) { return us >= -kMaxTimeUs && us <= kMaxTimeUs; };
  return time(offset_us.load(std::memory_order_relaxed)) && time(apart_since_us.load(std::memory_order_relaxed)) &&
         time(least_apart_us.load(std::memory_order_relaxed));
}

bool Clock::wants_settling(std::int64_t retention_us) const {
  const std::int64_t since_us = anchor_->apart_since_us.load(std::memory_order_relaxed);
  const std::int64_t now_apart_us = apart_us();
  if (since_us == 0) return beyond_noise(now_apart_us);
  const std::int64_t least_us = anchor_->least_apart_us.load(std::memory_order_relaxed);
  const bool nearer = least_us > 0 ? now_apart_us < least_us : now_apart_us > least_us;
  return nearer || host_->boot_us() - since_us >= settle_time_us(retention_us);
}

void Clock::settle(ClockAnchor& anchor, std::int64_t retention_us) const {
  std::int64_t now_apart_us = apart_us();
  const std::int64_t boot_us = host_->boot_us();
  std::int64_t since_us = anchor.apart_since_us.load(std::memory_order_relaxed);
  std::int64_t least_us = anchor.least_apart_us.load(std::memory_order_relaxed);
  const bool same_side = (now_apart_us > 0) == (least_us > 0);
  if (since_us != 0 && same_side) {
    least_us = least_us > 0 ? std::min(least_us, now_apart_us) : std::max(least_us, now_apart_us);
    if (beyond_noise(least_us) && boot_us - since_us >= settle_time_us(retention_us)) {
      anchor.offset_us.store(anchor.offset_us.load(std::memory_order_relaxed) + least_us, std::memory_order_relaxed);
      now_apart_us -= least_us;
      since_us = 0;
    }
  }
  if (!beyond_noise(now_apart_us)) {
    since_us = 0;
    least_us = 0;
  } else if (since_us == 0 || !same_side) {
    since_us = boot_us;
    least_us = now_apart_us;
  }
  anchor.apart_since_us.store(since_us, std::memory_order_relaxed);
  anchor.least_apart_us.store(least_us, std::memory_order_relaxed);
}

}  // namespace oncelog::internal
