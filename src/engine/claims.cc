#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/failpoint.h"
#include "engine/decide.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

/// How long a sleeper waits before it looks whether the owner still lives: a death wakes nobody.
constexpr milliseconds kOwnerCheckInterval{20};

/// Until when to wait: at most as long as a lease may be, the end of which the clock can tell.
Steady::time_point limit_of(milliseconds patience) {
  return Steady::now() + std::clamp(patience, milliseconds{0}, kMaxLease);
}

}  // namespace

/// Fresh ids get a lease.
struct Engine::BeginPolicy {
  Engine& engine;
  std::span<const Probe> probes;
  const ClaimTerms& terms;
  Marked* out;
  HeldLease* held_leases;                           // As many as probes.
  std::optional<ClaimOwner>* owner = nullptr;       // For the first probe, where wanted.
  const std::vector<HeldLease>* earlier = nullptr;  // Of the same batch, by ascending token.
  bool wake = false;

  Need accept(std::size_t i, const View&, std::int64_t, Lease* orphan, const ChainEnd*, Owners& owners) {
    std::uint64_t token = 0;
    const Need need = engine.take_lease(orphan, probes[i], terms, owners, token);
    if (need != Need::none) return need;
    held_leases[i] = {token, probes[i].scope, probes[i].hash, probes[i].id};
    out[i] = {Verdict::fresh, Lsn{}};
    return Need::none;
  }

  void held(std::size_t i, const Lease& lease) {
    const std::uint64_t token = lease.token.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
    const auto has = [token](std::span<const HeldLease> leases) {
      return std::ranges::any_of(leases, [token](const HeldLease& one) { return one.token == token; });
    };
    const bool own = lease.owner() == engine.self_ &&
                     (has({held_leases, i}) ||
                      (earlier != nullptr && std::ranges::binary_search(*earlier, token, {}, &HeldLease::token)));
    out[i] = {own ? Verdict::duplicate : Verdict::in_progress, Lsn{}};
    if (owner != nullptr) *owner = engine.owner_of(lease);
  }
};

Engine::LeaseState Engine::state_of(const Lease& lease, std::int64_t boot_us, Owners& owners) const {
  const bool over = lease.deadline_us <= boot_us;
  // Relaxed: under the mutex.
  if ((lease.completing.load(std::memory_order_relaxed) & Lease::kOfTransaction) == 0) {
    if (over) return lease.orphans == OrphanPolicy::keep ? LeaseState::held : LeaseState::takeable;
    if (lease.orphans != OrphanPolicy::free_at_once) return LeaseState::held;
  }
  const ProcessIdentity owner = lease.owner();
  if (owner == self_ || std::ranges::find(owners.alive, owner) != owners.alive.end()) return LeaseState::held;
  if (std::ranges::find(owners.dead, owner) != owners.dead.end()) {
    const bool free =
        lease.orphans == OrphanPolicy::free_at_once || (over && lease.orphans == OrphanPolicy::free_after_lease);
    return free ? LeaseState::takeable : LeaseState::held;
  }
  owners.asked = owner;
  return LeaseState::unknown;
}

/// Takes a lease, or the orphan, under the store's mutex.
Engine::Need Engine::take_lease(Lease* orphan, const Probe& probe, const ClaimTerms& terms, Owners& owners,
                                std::uint64_t& token) {
  const LeaseTable leases = live_->leases();
  if (!leases.has_tokens()) return Need::token_epoch;
  const std::int64_t deadline = deadline_us(terms.lease);
  if (orphan != nullptr) {
    leases.pass_on(*orphan, self_, deadline, terms.orphans);
    HostCounters::add(live_->header().counters.takeovers, 1);
  } else {
    orphan = leases.take(probe.hash, probe.scope, probe.id, self_, deadline, terms.orphans);
    if (orphan == nullptr) return Need::lease;
  }
  owners.reaped = false;
  token = orphan->token.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
  return Need::none;
}

std::int64_t Engine::deadline_us(milliseconds lease) const {
  return host_.boot_us() + microseconds(lease).count();
}

ClaimOwner Engine::owner_of(const Lease& lease) const {
  const std::int64_t left_us = lease.deadline_us - host_.boot_us();
  return {lease.pid, Time{microseconds{host_.wall_us() + left_us}}};
}

/// Tokens have to grow over reboots, which take the lease table along: their upper bits are counted in LMDB, once for
/// each life of the shared memory in which a lease is wanted.
void Engine::assign_token_epoch() {
  check_not_in_transaction("the first claim since the host booted");
  const LeaseTable leases = live_->leases();
  const WriterGate gate(live_->header(), directory_);
  // Acquire: pairs with the release below; the one who was here before has committed it.
  if (leases.header().token_epoch.load(std::memory_order_acquire) != 0) return;
  lmdb::WriteTxn txn(*env_);
  const std::uint64_t epoch = catalog_->number(txn, Catalog::Number::token_epoch) + 1;
  catalog_->put_number(txn, Catalog::Number::token_epoch, epoch);
  txn.commit();
  leases.header().token_epoch.store(epoch, std::memory_order_release);  // Pairs with the acquire above.
}

Marked Engine::begin(ScopeKey scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
                     milliseconds patience, HeldLease& held, std::optional<ClaimOwner>& owner) {
  check_writable();
  check_id(id);
  check_lease(terms.lease);
  check_attributes(attributes, live_->ring());
  const Probe probe = probe_of(scope, id);
  Reader& mine = reader();
  const auto limit = limit_of(patience);
  for (;;) {
    owner.reset();
    BeginPolicy policy{*this, std::span(&probe, 1), terms, nullptr, &held, &owner};
    const bool compared = attributes.fingerprint != 0 || !attributes.source.name.empty() || attributes.sent_at;
    const Marked marked = decide_one(mine, probe, compared ? &attributes : nullptr, policy);
    if (marked.verdict != Verdict::in_progress || Steady::now() >= limit) return marked;
    sleep_until_freed(probe, limit);
  }
}

Lsn Engine::begin(ScopeKey scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
                  std::span<Verdict> out, std::span<Lsn> lsns, std::vector<HeldLease>& held) {
  check_writable();
  for (const std::string_view id : ids) check_id(id);
  check_lease(terms.lease);
  Reader& mine = reader();
  std::array<Probe, kChunk> probes;
  std::array<std::optional<Found>, kChunk> found;
  std::array<Marked, kChunk> marked;
  std::array<HeldLease, kChunk> taken;
  Lsn newest;
  held.reserve(ids.size());
  for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, ids.size() - begin);
    make_probes(mine, scope, ids.subspan(begin, count), probes);
    taken.fill({});
    const Chunk chunk{
        std::span(probes).first(count), {}, std::span(found).first(count), std::span(marked).first(count)};
    BeginPolicy policy{*this, chunk.probes, terms, marked.data(), taken.data(), nullptr, &held};
    try {
      decide(mine, chunk, policy);
    } catch (const std::exception&) {
      let_go(taken);
      throw;
    }
    for (std::size_t i = 0; i < count; ++i) {
      mine.counters.count(scope.number, event_of(marked[i].verdict));
      out[begin + i] = marked[i].verdict;
      if (!lsns.empty()) lsns[begin + i] = marked[i].lsn;
      newest = std::max(newest, marked[i].lsn);
      if (taken[i].token != 0) held.push_back(taken[i]);
    }
  }
  return newest;
}

/// Waits until nobody holds the key, and calls take(orphan, owners) under the same hold of the mutex.
template <typename Take>
bool Engine::when_free(const Probe& probe, milliseconds patience, std::optional<ClaimOwner>& owner, Take take) {
  const LeaseTable leases = live_->leases();
  const auto limit = limit_of(patience);
  Owners owners;
  for (;;) {
    Need need = Need::owner_check;
    {
      const StoreLock guard(*live_);
      Lease* known = leases.find(probe.hash, probe.scope);
      const LeaseState state = known == nullptr ? LeaseState::takeable : state_of(*known, host_.boot_us(), owners);
      if (state == LeaseState::takeable) {
        need = take(known, owners);
        if (need == Need::none) {
          owner.reset();
          return true;
        }
      } else if (state == LeaseState::held) {
        owner = owner_of(*known);
        need = Need::none;
      }
    }
    meet(need, owners);
    if (need != Need::none) continue;
    if (Steady::now() >= limit) return false;
    sleep_until_freed(probe, limit);
    owners = {};
  }
}

bool Engine::lock(std::string_view name, milliseconds lease, milliseconds patience, HeldLease& held,
                  std::optional<ClaimOwner>& owner) {
  check_writable();
  check_lock_name(name);
  check_lease(lease);
  const Probe probe{name, MessageHash::kLockScope, MessageHash(scope_seed(MessageHash::kLockScope), name)};
  const ClaimTerms terms{lease, OrphanPolicy::free_at_once};
  return when_free(probe, patience, owner, [&](Lease* orphan, Owners& owners) {
    std::uint64_t token = 0;
    const Need need = take_lease(orphan, probe, terms, owners, token);
    if (need == Need::none) held = {token, probe.scope, probe.hash, name};
    return need;
  });
}

bool Engine::wait_until_free(ScopeKey scope, std::string_view id, milliseconds patience) {
  check_writable();
  check_id(id);
  std::optional<ClaimOwner> owner;
  return when_free(probe_of(scope, id), patience, owner, [](Lease*, Owners&) { return Need::none; });
}

/// Sleeps until the probe's lease may have been freed, and no longer than its owner's death may go unnoticed.
void Engine::sleep_until_freed(const Probe& probe, Steady::time_point limit) {
  const LeaseTable leases = live_->leases();
  std::uint32_t seen = 0;
  microseconds most = kOwnerCheckInterval;
  {
    const StoreLock guard(*live_);
    Lease* lease = leases.find(probe.hash, probe.scope);
    if (lease == nullptr) return;
    lease->waited_for = 1;
    // Acquire: pairs with the release in LeaseTable::wake. Read under the mutex, under which the lease is freed before
    // that.
    seen = leases.header().freed.load(std::memory_order_acquire);
    const microseconds left{lease->deadline_us - host_.boot_us()};
    if (left.count() > 0) most = std::min(most, left);
  }
  most = std::min(most, std::chrono::ceil<microseconds>(limit - Steady::now()));
  futex_wait(leases.header().freed, seen, most);
}

Lsn Engine::complete(std::span<HeldLease> held, std::span<const Attributes> attributes) {
  check_writable();
  for (const Attributes& given : attributes) check_attributes(given, live_->ring());
  SharedHeader& live = live_->header();
  const LeaseTable leases = live_->leases();
  Reader& mine = reader();
  Owners owners;
  std::vector<ChainEnd> chains(std::min(kChunk, held.size()));
  std::vector<RecordDraft> drafts(chains.size());
  for (std::size_t done = 0; done < held.size();) {
    const auto rest = held.subspan(done, std::min(kChunk, held.size() - done));
    // As in decide.
    const Lsn looked_at{live.marks.head.load(std::memory_order_acquire)};
    const View& view = mine.view();
    for (std::size_t i = 0; i < rest.size(); ++i) {
      view.prefetch(rest[i].hash);
      if (!view.buckets.empty()) view.buckets.back().newest_table().prefetch(rest[i].hash);
      drafts[i] = {rest[i].scope, rest[i].id, rest[i].hash.digest()};
      chains[i] = {};
      if (attributes.empty() || !MarkPolicy::keeps(attributes[done + i])) continue;
      const Attributes& given = attributes[done + i];
      drafts[i].texts = &given;
      drafts[i].attributes = StoredAttributes::of(given);
      // Now: once the lease says that its record is about to be accepted nothing may fail.
      mine.scratch.reserve(drafts[i].bytes() / kRecordUnit);
      if (given.correlation.empty()) continue;
      chains[i].probe = correlation_probe(given.correlation);
      chains[i].found = mine.look(view, chains[i].probe);
    }
    const std::int64_t now_us = clock_->stamp_us();
    Need need = Need::none;
    bool appended = false;
    bool bell = false;
    bool wake = false;
    std::size_t i = 0;
    {
      flusher_->throw_if_failed();
      const StoreLock lock(*live_);
      const Lsn head_before{live.marks.head.load(std::memory_order_relaxed)};  // Relaxed: only written under this lock.
      if (live.layout.epoch() != view.epoch) need = Need::newer_view;
      for (; need == Need::none && i < rest.size(); ++i) {
        if (rest[i].token == 0 || rest[i].completed.value != 0) continue;
        Lease* lease = leases.find_held(rest[i].hash, rest[i].scope, rest[i].token);
        if (lease == nullptr) {
          rest[i].token = 0;
          mine.counters.count(rest[i].scope, IdEvent::late);
          continue;
        }
        ChainEnd* chain = chains[i].probe.id.empty() ? nullptr : &chains[i];
        if (chain != nullptr) {
          bool passed = false;
          if (const auto newer = mine.look_again(view, chain->probe, looked_at, passed)) chain->found = newer;
          if (passed) {
            need = Need::newer_view;
            break;
          }
        }
        const std::int64_t time_us =
            std::clamp(now_us, live.marks.last_time_us.load(std::memory_order_relaxed), kMaxTimeUs);
        need = prepare(view, time_us, drafts[i].bytes());
        if (need != Need::none) break;
        // Before the record is accepted: who dies in between leaves a claim whose record is there, or one that stays.
        lease->completing.store(live.marks.head.load(std::memory_order_relaxed), std::memory_order_release);
        failpoint();
        rest[i].completed = append(mine, view, drafts[i], rest[i].hash, time_us, chain);
        mine.counters.count(rest[i].scope, IdEvent::completed);
        wake |= leases.free(*lease);
        failpoint();
      }
      appended = live.marks.head.load(std::memory_order_relaxed) != head_before.value;
      bell = appended && wants_bell(view, head_before);
    }
    done += i;
    if (wake) leases.wake();
    if (appended) flusher_->marked(bell);
    meet(need, owners);
  }
  return held.empty() ? Lsn{} : std::ranges::max(held, {}, &HeldLease::completed).completed;
}

bool Engine::renew(const HeldLease& held, milliseconds lease) {
  check_writable();
  check_lease(lease);
  const StoreLock guard(*live_);
  const LeaseTable leases = live_->leases();
  Lease* known = leases.find_held(held.hash, held.scope, held.token);
  if (known == nullptr) return false;
  known->deadline_us = deadline_us(lease);
  return true;
}

bool Engine::give_to_transaction(const HeldLease& held) {
  const StoreLock guard(*live_);
  const LeaseTable leases = live_->leases();
  Lease* known = leases.find_held(held.hash, held.scope, held.token);
  if (known == nullptr) return false;
  known->completing.store(Lease::kOfTransaction, std::memory_order_relaxed);  // Relaxed: under the mutex.
  return true;
}

void Engine::abandon(std::span<const HeldLease> held) {
  if (const std::size_t freed = let_go(held); freed != 0) {
    reader().counters.count(held.front().scope, IdEvent::abandoned, freed);
  }
}

std::size_t Engine::let_go(std::span<const HeldLease> held) {
  if (forked()) return 0;  // The parent's.
  const LeaseTable leases = live_->leases();
  std::size_t freed = 0;
  bool wake = false;
  for (std::size_t begin = 0; begin < held.size(); begin += kChunk) {
    const StoreLock guard(*live_);
    for (const HeldLease& one : held.subspan(begin, std::min(kChunk, held.size() - begin))) {
      if (one.token == 0) continue;
      Lease* lease = leases.find_held(one.hash, one.scope, one.token);
      if (lease == nullptr) continue;
      wake |= leases.free(*lease);
      ++freed;
    }
  }
  if (wake) leases.wake();
  return freed;
}

}  // namespace oncelog::internal
