#pragma once

#include <chrono>
#include <span>
#include <vector>

#include <oncelog/claim_info.h>

#include "engine/opened_store.h"

namespace oncelog::internal {

/// What operators and the upkeep do about claims and locks that others hold, and the numbering of fencing tokens over
/// reboots. Thread-safe.
class LeaseAdmin {
 public:
  explicit LeaseAdmin(OpenedStore& store) : store_(store) {}

  /// Frees the id's claim, whoever holds it; false when nobody does.
  bool release(const Probe& probe);
  /// What is claimed and locked now, oldest first.
  std::vector<ClaimInfo> claims();

  /// Frees what dead owners have left. May flush, to settle what a dead transaction has left.
  void reap();
  /// Frees what an earlier program of this process has left: otherwise that would look like this program's own for
  /// ever. Waits for nobody's transaction.
  void free_own();

  /// Tokens have to grow across reboots, which wipe the lease table: their upper bits, the epoch, are counted in
  /// LMDB, once for each life of the shared memory in which a lease is wanted.
  void assign_token_epoch();

  std::int64_t deadline_us(std::chrono::milliseconds lease) const;
  ClaimOwner owner_of(const Lease& lease) const;

 private:
  template <typename Visit>
  void each_mortal(Visit visit);
  void free_settled_of(std::span<const ProcessIdentity> owners);

  OpenedStore& store_;
};

}  // namespace oncelog::internal
