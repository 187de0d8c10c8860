#include "lmdb/address_space.h"

#include <algorithm>

namespace oncelog::internal::lmdb {
namespace {

constexpr std::uint64_t kGranule = std::uint64_t{64} << 10;  // A multiple of every page size.
/// Look-ups wait while more room is waited for. So after a wait in vain the next one comes when so many times as long
/// has passed.
constexpr int kPause = 10;

}  // namespace

std::uint64_t AddressSpace::wanted_for(std::uint64_t used) const {
  const std::uint64_t rounded = (4 * used + kGranule - 1) / kGranule * kGranule;
  return std::min(most_, std::max(first_, rounded));
}

std::optional<AddressSpace::Growth> AddressSpace::growth(std::uint64_t used, Clock::time_point now) const {
  const bool was_full = was_full_.load(std::memory_order_relaxed);
  if (!was_full && used <= bytes_ / 2) return std::nullopt;
  const bool urgent = was_full || used > bytes_ - bytes_ / 8;
  Growth growth{std::min(most_, std::max(2 * bytes_, wanted_for(used))), std::chrono::milliseconds{0}};
  if (urgent && now >= next_urgent_growth_) {
    growth.patience = kUrgentPatience;
  } else if (now >= next_growth_) {
    growth.patience = kPatience;
  } else if (!urgent) {
    return std::nullopt;
  }
  return growth;
}

void AddressSpace::not_grown(const Growth& growth, Clock::time_point now) {
  if (growth.patience.count() == 0) return;
  (growth.patience == kUrgentPatience ? next_urgent_growth_ : next_growth_) = now + kPause * growth.patience;
}

}  // namespace oncelog::internal::lmdb
