#include "engine/claims.h"

#include <algorithm>
#include <array>

#include "base/failpoint.h"
#include "engine/decider.h"
#include "engine/records.h"
#include "engine/report.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

/// How long a sleeper waits before it looks whether the owner still lives: a death wakes nobody.
constexpr milliseconds kOwnerCheckInterval{20};

/// Until when to wait: at most as long as a lease may be, whose end the clock can tell.
Steady::time_point limit_of(milliseconds patience) {
  return Steady::now() + std::clamp(patience, milliseconds{0}, kMaxLease);
}

}  // namespace

/// Fresh ids get a lease.
struct Claims::BeginPolicy {
  Claims& claims;
  const Chunk& chunk;
  const ClaimTerms& terms;
  std::span<HeldLease> taken;                       // As many as ids.
  std::optional<ClaimOwner>* owner = nullptr;       // Of the first id, where wanted.
  const std::vector<HeldLease>* earlier = nullptr;  // Of the same batch, by ascending token.

  Need accept(std::size_t i, Hold&, Lease* orphan, const ChainEnd*, Owners& owners) {
    const Probe& probe = chunk.probes[i];
    std::uint64_t token = 0;
    const std::uint64_t fingerprint = chunk.attributes.empty() ? 0 : chunk.attributes[i].fingerprint;
    const Need need = claims.take_lease(orphan, probe, terms, fingerprint, owners, token);
    if (need != Need::none) return need;
    taken[i] = {token, probe.scope, probe.hash, probe.id};
    chunk.out[i] = {Verdict::fresh, Lsn{}};
    return Need::none;
  }

  void held(std::size_t i, const Lease& lease) {
    const std::uint64_t token = lease.token.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
    const auto has = [token](std::span<const HeldLease> leases) {
      return std::ranges::any_of(leases, [token](const HeldLease& one) { return one.token == token; });
    };
    const bool own = lease.owner() == claims.store_.self() &&
                     (has(taken.first(i)) ||
                      (earlier != nullptr && std::ranges::binary_search(*earlier, token, {}, &HeldLease::token)));
    chunk.out[i] = {own ? Verdict::duplicate : Verdict::in_progress, Lsn{}};
    if (owner != nullptr) *owner = claims.admin_.owner_of(lease);
  }
};

/// Takes a lease, or the orphan, under the store's mutex.
Need Claims::take_lease(Lease* orphan, const Probe& probe, const ClaimTerms& terms, std::uint64_t fingerprint,
                        Owners& owners, std::uint64_t& token) {
  const LeaseTable leases = store_.state().leases();
  if (!leases.has_tokens()) return Need::token_epoch;
  const std::int64_t deadline_us = admin_.deadline_us(terms.lease);
  if (orphan != nullptr) {
    leases.pass_on(*orphan, store_.self(), deadline_us, terms.orphans, fingerprint);
    HostCounters::add(store_.header().counters.takeovers, 1);
  } else {
    orphan = leases.take(probe.hash, probe.scope, probe.id, store_.self(), deadline_us, terms.orphans, fingerprint);
    if (orphan == nullptr) return Need::lease;
  }
  owners.reaped = false;
  token = orphan->token.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
  return Need::none;
}

Claims::Attempt Claims::try_begin(ScopeKey scope, std::string_view id, const Attributes& attributes,
                                  const ClaimTerms& terms, milliseconds patience, HeldLease& held) {
  store_.check_writable();
  check_id(id);
  check_lease(terms.lease);
  check_attributes(attributes, store_.state().ring());
  const Probe probe = store_.probe(scope, id);
  Reader& reader = store_.reader();
  const auto limit = limit_of(patience);
  const bool asks = compares(attributes) || attributes.sent_at;
  for (;;) {
    Attempt attempt;
    const Chunk chunk{std::span(&probe, 1), std::span(&attributes, asks ? 1 : 0), std::span(&attempt.found, 1),
                      std::span(&attempt.marked, 1), std::span(&attempt.copy, 1)};
    BeginPolicy policy{*this, chunk, terms, std::span(&held, 1), &attempt.owner};
    decide(acceptor_, reader, chunk, policy);
    if (asks) compare_attributes(chunk);
    if (attempt.marked.verdict != Verdict::in_progress || Steady::now() >= limit) return attempt;
    sleep_until_freed(probe, limit);
  }
}

Begun Claims::begin(const ScopeRef& scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
                    milliseconds patience, HeldLease& held) {
  const Attempt attempt = try_begin(scope.key, id, attributes, terms, patience, held);
  Begun begun{attempt.marked, std::nullopt, attempt.owner};
  if (attempt.found) begun.record = records_.to_record(scope, id, *attempt.found, attempt.copy);
  Report report(store_.options().on_decision, store_.reader().counters, scope, 1);
  report.count(0, begun.marked.verdict, attempt.found);
  report.tell({&id, 1}, {&attributes, 1}, std::span<const Marked>(&begun.marked, 1));
  return begun;
}

Lsn Claims::begin(const ScopeRef& scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
                  std::span<Verdict> out, std::vector<HeldLease>& held) {
  store_.check_writable();
  for (const std::string_view id : ids) check_id(id);
  check_lease(terms.lease);
  Reader& reader = store_.reader();
  Report report(store_.options().on_decision, reader.counters, scope, ids.size());
  std::array<Probe, kChunk> probes;
  std::array<std::optional<Found>, kChunk> found;
  std::array<Marked, kChunk> marked;
  std::array<HeldLease, kChunk> taken;
  Lsn newest;
  held.reserve(ids.size());
  for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
    const std::size_t count = std::min(kChunk, ids.size() - begin);
    store_.make_probes(reader, scope.key, ids.subspan(begin, count), probes);
    taken.fill({});
    const Chunk chunk{
        std::span(probes).first(count), {}, std::span(found).first(count), std::span(marked).first(count)};
    BeginPolicy policy{*this, chunk, terms, std::span(taken).first(count), nullptr, &held};
    try {
      decide(acceptor_, reader, chunk, policy);
    } catch (const std::exception&) {
      let_go(taken);
      throw;
    }
    for (std::size_t i = 0; i < count; ++i) {
      report.count(begin + i, marked[i].verdict, found[i]);
      out[begin + i] = marked[i].verdict;
      newest = std::max(newest, marked[i].lsn);
      if (taken[i].token != 0) held.push_back(taken[i]);
    }
  }
  report.tell(ids, {}, std::span<const Verdict>(out));
  return newest;
}

/// Waits until nobody holds the key, and calls take(orphan, owners) under the same hold of the mutex.
template <typename Take>
bool Claims::when_free(const Probe& probe, milliseconds patience, std::optional<ClaimOwner>& owner, Take take) {
  const LeaseTable leases = store_.state().leases();
  const auto limit = limit_of(patience);
  Owners owners;
  for (;;) {
    Need need = Need::owner_check;
    {
      const StoreLock lock(store_.state());
      Lease* known = leases.find(probe.hash, probe.scope);
      const LeaseState state =
          known == nullptr ? LeaseState::takeable : state_of(*known, store_.self(), store_.host().boot_us(), owners);
      if (state == LeaseState::takeable) {
        need = take(known, owners);
        if (need == Need::none) {
          owner.reset();
          return true;
        }
      } else if (state == LeaseState::held) {
        owner = admin_.owner_of(*known);
        need = Need::none;
      }
    }
    acceptor_.meet(need, owners);
    if (need != Need::none) continue;
    if (Steady::now() >= limit) return false;
    sleep_until_freed(probe, limit);
    owners = {};
  }
}

bool Claims::lock(std::string_view name, milliseconds lease, milliseconds patience, HeldLease& held,
                  std::optional<ClaimOwner>& owner) {
  store_.check_writable();
  check_lock_name(name);
  check_lease(lease);
  const Probe probe{name, MessageHash::kLockScope, MessageHash(store_.scope_seed(MessageHash::kLockScope), name)};
  const ClaimTerms terms{lease, OrphanPolicy::free_at_once};
  return when_free(probe, patience, owner, [&](Lease* orphan, Owners& owners) {
    std::uint64_t token = 0;
    const Need need = take_lease(orphan, probe, terms, 0, owners, token);
    if (need == Need::none) held = {token, probe.scope, probe.hash, name};
    return need;
  });
}

bool Claims::wait_until_free(ScopeKey scope, std::string_view id, milliseconds patience) {
  store_.check_writable();
  check_id(id);
  std::optional<ClaimOwner> owner;
  return when_free(store_.probe(scope, id), patience, owner, [](Lease*, Owners&) { return Need::none; });
}

/// Sleeps until the probe's lease may have been freed, and no longer than its owner's death may go unnoticed.
void Claims::sleep_until_freed(const Probe& probe, Steady::time_point limit) {
  const LeaseTable leases = store_.state().leases();
  std::uint32_t seen = 0;
  microseconds most = kOwnerCheckInterval;
  {
    const StoreLock lock(store_.state());
    Lease* lease = leases.find(probe.hash, probe.scope);
    if (lease == nullptr) return;
    lease->waited_for = 1;
    // Acquire: pairs with the release in LeaseTable::wake. Read under the mutex, under which the lease is freed before
    // that.
    seen = leases.header().freed.load(std::memory_order_acquire);
    const microseconds left{lease->deadline_us - store_.host().boot_us()};
    if (left.count() > 0) most = std::min(most, left);
  }
  most = std::min(most, std::chrono::ceil<microseconds>(limit - Steady::now()));
  futex_wait(leases.header().freed, seen, most);
}

/// The completion of claims, a chunk at a time.
struct Claims::Completion {
  OpenedStore& store;
  Reader& reader;
  std::vector<ChainEnd> chains;
  std::vector<RecordDraft> drafts;

  Completion(OpenedStore& of, Reader& by, std::size_t most) : store(of), reader(by), chains(most), drafts(most) {}

  /// Without the mutex. Afterwards nothing can fail for want of memory.
  void prepare(const Glance& glance, std::span<const HeldLease> held, std::span<const Attributes> attributes) {
    for (std::size_t i = 0; i < held.size(); ++i) {
      const HeldLease& one = held[i];
      glance.view.prefetch(one.hash);
      if (!glance.view.buckets.empty()) glance.view.buckets.back().newest_table().prefetch(one.hash);
      const Attributes* given = attributes.empty() ? nullptr : &attributes[i];
      drafts[i] = RecordDraft::of(one.scope, one.id, one.hash.digest(), given);
      chains[i] = {};
      if (drafts[i].texts == nullptr) continue;
      // Now: once the lease says that its record is about to be accepted nothing may fail.
      reader.scratch.reserve(drafts[i].bytes() / kRecordUnit);
      if (given->correlation.empty()) continue;
      chains[i].probe = store.correlation_probe(given->correlation);
      chains[i].found = reader.look(glance.view, chains[i].probe);
    }
  }

  /// Completes one claim under a hold, or returns what that lacks.
  Need complete(HeldLease& held, std::size_t i, Hold& hold, const LeaseTable& leases) {
    if (held.token == 0 || held.completed.value != 0) return Need::none;
    Lease* lease = leases.find_held(held.hash, held.scope, held.token);
    if (lease == nullptr) {
      held.token = 0;
      reader.counters.count(held.scope, IdEvent::late);
      return Need::none;
    }
    ChainEnd* chain = chains[i].probe.id.empty() ? nullptr : &chains[i];
    if (chain != nullptr) {
      bool passed = false;
      if (const auto newer = hold.look_again(chain->probe, passed)) chain->found = newer;
      if (passed) return Need::newer_view;
    }
    if (const Need need = hold.prepare(drafts[i].bytes()); need != Need::none) return need;
    // Before the record is accepted: after a death in between either the record exists and mending
    // frees the claim, or it does not and the claim stays.
    lease->completing.store(hold.head().value, std::memory_order_release);
    failpoint();
    held.completed = hold.append(drafts[i], held.hash, chain);
    reader.counters.count(held.scope, IdEvent::completed);
    if (leases.free(*lease)) hold.wake_waiters();
    failpoint();
    return Need::none;
  }
};

Lsn Claims::complete(std::span<HeldLease> held, std::span<const Attributes> attributes) {
  store_.check_writable();
  for (const Attributes& given : attributes) check_attributes(given, store_.state().ring());
  const LeaseTable leases = store_.state().leases();
  Completion completion(store_, store_.reader(), std::min(kChunk, held.size()));
  Owners owners;
  for (std::size_t done = 0; done < held.size();) {
    const auto rest = held.subspan(done, std::min(kChunk, held.size() - done));
    const Glance glance = acceptor_.glance(completion.reader);
    completion.prepare(glance, rest, attributes.empty() ? attributes : attributes.subspan(done, rest.size()));
    store_.flusher().throw_if_failed();
    Need need = Need::none;
    std::size_t i = 0;
    {
      Hold hold(store_, completion.reader, glance);
      need = hold.need();
      while (need == Need::none && i < rest.size()) {
        need = completion.complete(rest[i], i, hold, leases);
        if (need == Need::none) ++i;
      }
    }
    done += i;
    acceptor_.meet(need, owners);
  }
  return held.empty() ? Lsn{} : std::ranges::max(held, {}, &HeldLease::completed).completed;
}

bool Claims::renew(const HeldLease& held, milliseconds lease) {
  store_.check_writable();
  check_lease(lease);
  const StoreLock lock(store_.state());
  Lease* known = store_.state().leases().find_held(held.hash, held.scope, held.token);
  if (known == nullptr) return false;
  known->deadline_us = admin_.deadline_us(lease);
  return true;
}

bool Claims::give_to_transaction(const HeldLease& held) {
  const StoreLock lock(store_.state());
  Lease* known = store_.state().leases().find_held(held.hash, held.scope, held.token);
  if (known == nullptr) return false;
  known->completing.store(Lease::kOfTransaction, std::memory_order_relaxed);  // Relaxed: under the mutex.
  return true;
}

void Claims::abandon(std::span<const HeldLease> held) {
  if (const std::size_t freed = let_go(held); freed != 0) {
    store_.reader().counters.count(held.front().scope, IdEvent::abandoned, freed);
  }
}

std::size_t Claims::let_go(std::span<const HeldLease> held) {
  if (store_.forked()) return 0;  // The parent's.
  const LeaseTable leases = store_.state().leases();
  std::size_t freed = 0;
  bool wake = false;
  for (std::size_t begin = 0; begin < held.size(); begin += kChunk) {
    const StoreLock lock(store_.state());
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
