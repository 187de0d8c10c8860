#include "engine/owners.h"

#include <algorithm>

namespace oncelog::internal {

LeaseState state_of(const Lease& lease, const ProcessIdentity& self, std::int64_t boot_us, Owners& owners) {
  const bool expired = lease.deadline_us <= boot_us;
  // Relaxed: under the mutex.
  if ((lease.completing.load(std::memory_order_relaxed) & Lease::kOfTransaction) == 0) {
    if (expired) return lease.orphans == OrphanPolicy::keep ? LeaseState::held : LeaseState::takeable;
    if (lease.orphans != OrphanPolicy::free_at_once) return LeaseState::held;
  }
  const ProcessIdentity owner = lease.owner();
  if (owner == self || std::ranges::find(owners.alive, owner) != owners.alive.end()) return LeaseState::held;
  if (std::ranges::find(owners.dead, owner) != owners.dead.end()) {
    const bool free =
        lease.orphans == OrphanPolicy::free_at_once || (expired && lease.orphans == OrphanPolicy::free_after_lease);
    return free ? LeaseState::takeable : LeaseState::held;
  }
  owners.asked = owner;
  return LeaseState::unknown;
}

}  // namespace oncelog::internal
