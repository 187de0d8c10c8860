#include <algorithm>
#include <utility>

#include "engine/engine.h"
#include "shared/argument_checks.h"

// What operators, and the upkeep, do about claims that others hold.
namespace oncelog::internal {

bool Engine::release(ScopeKey scope, std::string_view id) {
  check_writable();
  check_id(id);
  const Probe probe = probe_of(scope, id);
  const LeaseTable leases = live_->leases();
  bool wake = false;
  {
    const StoreLock guard(*live_);
    Lease* lease = leases.find(probe.hash, probe.scope);
    if (lease == nullptr) return false;
    wake = leases.free(*lease);
  }
  if (wake) leases.wake();
  return true;
}

std::vector<ClaimInfo> Engine::claims() {
  check_usable();
  struct Held {
    std::uint32_t scope;
    ProcessIdentity owner;
  };
  std::vector<ClaimInfo> all;
  std::vector<Held> held;
  const LeaseTable leases = live_->leases();
  {
    const StoreLock guard(*live_);
    leases.each([&](const Lease& lease) {
      ClaimInfo info;
      info.id.assign(lease.id, std::min<std::size_t>(lease.id_bytes, Lease::kIdBytes));
      info.owner = owner_of(lease);
      info.orphans = lease.orphans;
      info.token = lease.token.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
      all.push_back(std::move(info));
      held.push_back({lease.scope, lease.owner()});
    });
  }
  std::vector<std::pair<std::uint32_t, std::string>> names;
  {
    lmdb::ReadTxn& txn = reader().txn();
    const lmdb::ReadTxn::Active active(txn);
    names = catalog_->scopes(txn);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto name = std::ranges::find(names, held[i].scope, &std::pair<std::uint32_t, std::string>::first);
    if (name != names.end()) all[i].scope = name->second;
    // Claims come in runs of one owner's, and asking takes a file to be read.
    all[i].owner_alive = i != 0 && held[i].owner == held[i - 1].owner ? all[i - 1].owner_alive : held[i].owner.alive();
  }
  std::ranges::sort(all, {}, &ClaimInfo::token);
  return all;
}

/// Under the mutex, calls visit(lease) for each lease that its owner's death ends.
template <typename Visit>
void Engine::each_mortal_claim(Visit visit) {
  const StoreLock guard(*live_);
  const LeaseTable leases = live_->leases();
  const std::int64_t boot_us = host_.boot_us();
  leases.each([&](Lease& lease) {
    // A transaction's record may be accepted: who settles the transaction decides. Relaxed: under the mutex.
    const bool accepted = lease.completing.load(std::memory_order_relaxed) > Lease::kOfTransaction;
    const bool over = lease.orphans == OrphanPolicy::free_after_lease && lease.deadline_us <= boot_us;
    if (!accepted && (lease.orphans == OrphanPolicy::free_at_once || over)) visit(lease);
  });
}

void Engine::free_claims_of(std::span<const ProcessIdentity> owners) {
  // What a dead transaction has left is free once it is settled, which a flush begins with. Within a transaction of
  // this thread there is nothing left to settle. Acquire: pairs with the release in Uncommitted::announce.
  if (live_->header().pending.begin.load(std::memory_order_acquire) != 0) flusher_->flush();
  free_settled_claims_of(owners);
}

void Engine::free_own_claims() {
  free_settled_claims_of({&self_, 1});
}

void Engine::free_settled_claims_of(std::span<const ProcessIdentity> owners) {
  const LeaseTable leases = live_->leases();
  if (owners.empty() || !leases.any()) return;
  bool wake = false;
  each_mortal_claim([&](Lease& lease) {
    if (std::ranges::find(owners, lease.owner()) != owners.end()) wake |= leases.free(lease);
  });
  if (wake) leases.wake();
}

void Engine::reap_claims() {
  std::vector<ProcessIdentity> owners;
  if (live_->leases().any()) {
    each_mortal_claim([&](const Lease& lease) {
      if (lease.owner() != self_ && std::ranges::find(owners, lease.owner()) == owners.end()) {
        owners.push_back(lease.owner());
      }
    });
  }
  std::erase_if(owners, [](const ProcessIdentity& owner) { return owner.alive(); });
  free_claims_of(owners);
}

}  // namespace oncelog::internal
