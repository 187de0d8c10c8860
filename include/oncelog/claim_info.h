#pragma once

#include <cstdint>
#include <string>

#include <oncelog/options.h>
#include <oncelog/record.h>

namespace oncelog {

/// Who holds a claim or lock that was asked for.
struct ClaimOwner {
  std::int32_t process = 0;  ///< Its process id.
  /// When its lease expires: a wall-clock estimate, as leases run on the boot clock.
  Time deadline;
};

/// A claim or lock that is held, as Store::claims lists them.
struct ClaimInfo {
  std::string scope;  ///< Empty for a lock.
  std::string id;     ///< Its first 56 bytes; of a lock, its name's.
  /// Who holds it, and until when.
  ClaimOwner owner;
  /// Whether that process is alive.
  bool owner_alive = false;
  /// What the owner's death and the lease's expiry do to it.
  OrphanPolicy orphans = OrphanPolicy::free_at_once;
  /// Its fencing token.
  std::uint64_t token = 0;
};

}  // namespace oncelog
