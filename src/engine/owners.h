#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/process_identity.h"
#include "shared/leases.h"

namespace oncelog::internal {

/// What was found out about owners of leases in the course of one call. Whether a process lives takes system calls, so
/// it is asked without the store's mutex and remembered here for the next look under it. A value; one thread.
struct Owners {
  std::vector<ProcessIdentity> alive;
  std::vector<ProcessIdentity> dead;
  std::optional<ProcessIdentity> asked;  // To be looked at without the mutex.
  bool reaped = false;                   // The call has freed what the dead have left, and found too little.
};

enum class LeaseState { held, takeable, unknown };

/// Whether others may take the lease, under the store's mutex. `unknown`: owners.asked is to be looked at first.
LeaseState state_of(const Lease& lease, const ProcessIdentity& self, std::int64_t boot_us, Owners& owners);

}  // namespace oncelog::internal
