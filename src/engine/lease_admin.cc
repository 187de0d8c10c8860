#include "engine/lease_admin.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "shared/store_lock.h"
#include "shared/writer_gate.h"

namespace oncelog::internal {

using std::chrono::microseconds;

bool LeaseAdmin::release(const Probe& probe) {
  const LeaseTable leases = store_.state().leases();
  bool wake = false;
  {
    const StoreLock lock(store_.state());
    Lease* lease = leases.find(probe.hash, probe.scope);
    if (lease == nullptr) return false;
    wake = leases.free(*lease);
  }
  if (wake) leases.wake();
  return true;
}

std::vector<ClaimInfo> LeaseAdmin::claims() {
  struct Held {
    std::uint32_t scope;
    ProcessIdentity owner;
  };
  std::vector<ClaimInfo> all;
  std::vector<Held> held;
  {
    const StoreLock lock(store_.state());
    store_.state().leases().each([&](const Lease& lease) {
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
    lmdb::ReadTxn& txn = store_.reader().txn();
    const lmdb::ReadTxn::Active active(txn);
    names = store_.catalog().scopes(txn);
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

/// Under the mutex, calls visit(lease) for each lease that ends if its owner is dead.
template <typename Visit>
void LeaseAdmin::each_mortal(Visit visit) {
  const StoreLock lock(store_.state());
  const std::int64_t boot_us = store_.host().boot_us();
  store_.state().leases().each([&](Lease& lease) {
    // A transaction's record may be accepted: settling the transaction decides. Relaxed: under the mutex.
    const bool accepted = lease.completing.load(std::memory_order_relaxed) > Lease::kOfTransaction;
    const bool expired = lease.orphans == OrphanPolicy::free_after_lease && lease.deadline_us <= boot_us;
    if (!accepted && (lease.orphans == OrphanPolicy::free_at_once || expired)) visit(lease);
  });
}

void LeaseAdmin::free_own() {
  free_settled_of({&store_.self(), 1});
}

void LeaseAdmin::free_settled_of(std::span<const ProcessIdentity> owners) {
  const LeaseTable leases = store_.state().leases();
  if (owners.empty() || !leases.any()) return;
  bool wake = false;
  each_mortal([&](Lease& lease) {
    if (std::ranges::find(owners, lease.owner()) != owners.end()) wake |= leases.free(lease);
  });
  if (wake) leases.wake();
}

void LeaseAdmin::reap() {
  std::vector<ProcessIdentity> owners;
  if (store_.state().leases().any()) {
    each_mortal([&](const Lease& lease) {
      if (lease.owner() != store_.self() && std::ranges::find(owners, lease.owner()) == owners.end()) {
        owners.push_back(lease.owner());
      }
    });
  }
  std::erase_if(owners, [](const ProcessIdentity& owner) { return owner.alive(); });
  // What a dead transaction has left is free once it is settled, which a flush begins with. Within a transaction of
  // this thread there is nothing left to settle. Acquire: pairs with the release in Uncommitted::announce.
  if (store_.header().pending.begin.load(std::memory_order_acquire) != 0) store_.flusher().flush();
  free_settled_of(owners);
}

void LeaseAdmin::assign_token_epoch() {
  store_.check_not_in_transaction("the first claim since the host booted");
  LeaseHeader& leases = store_.header().leases;
  const WriterGate gate(store_.header(), store_.directory());
  // Acquire: pairs with the release below; the one that was here before has committed it.
  if (leases.token_epoch.load(std::memory_order_acquire) != 0) return;
  lmdb::WriteTxn txn(store_.env());
  const std::uint64_t last = store_.catalog().number(txn, Catalog::Number::token_epoch);
  if (last >= LeaseTable::kMaxEpoch) {
    // A damaged number, or a backup that was restored while the clock was wrong by decades.
    throw error_at(
        ErrorCode::full, store_.directory(),
        "no fencing token is left: the epoch of the last ones is {}, and {} is the highest; ids can be marked, "
        "not claimed or locked, and no transaction can be made",
        last, LeaseTable::kMaxEpoch);
  }
  const std::uint64_t epoch = last + 1;
  store_.catalog().put_number(txn, Catalog::Number::token_epoch, epoch);
  txn.commit();
  leases.token_epoch.store(epoch, std::memory_order_release);  // Pairs with the acquire above.
}

std::int64_t LeaseAdmin::deadline_us(std::chrono::milliseconds lease) const {
  return store_.host().boot_us() + microseconds(lease).count();
}

ClaimOwner LeaseAdmin::owner_of(const Lease& lease) const {
  const std::int64_t left_us = lease.deadline_us - store_.host().boot_us();
  return {lease.pid, Time{microseconds{store_.host().wall_us() + left_us}}};
}

}  // namespace oncelog::internal
