#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "engine/engine.h"

namespace oncelog::internal {

/// What every id goes through on which something is decided: looked up without a lock; if it has no live record, looked
/// up again under the store's mutex at what has come since, and, if it still has none and nobody holds a lease on it,
/// given to the policy, under that same hold of the mutex. So nothing can come between the last look and what the
/// policy does. Whatever the mutex's holder lacks is got without the mutex, and the rest begins again.
///
/// A policy is
///   Need accept(std::size_t i, const View&, std::int64_t time_us, Lease* orphan, const ChainEnd*, Owners&)
///       the i-th id is fresh: sets out[i], or returns what it lacks. `orphan` is its lease that may be taken, or null;
///       the chain's end is null when it has no correlation.
///   void held(std::size_t i, const Lease&)
///       somebody holds it: sets out[i].
///   bool wake
///       set when a lease was freed that someone waits for.
template <typename Policy>
void Engine::decide(Reader& reader, const Chunk& chunk, Policy& policy) {
  SharedHeader& live = live_->header();
  const LeaseTable leases = live_->leases();
  const bool dated = std::ranges::any_of(chunk.attributes, [](const Attributes& a) { return a.sent_at.has_value(); });
  Owners owners;
  std::vector<ChainEnd> chains;
  if (std::ranges::any_of(chunk.attributes, [](const Attributes& a) { return !a.correlation.empty(); })) {
    chains.resize(chunk.probes.size());
    for (std::size_t i = 0; i < chains.size(); ++i)
      chains[i].probe = correlation_probe(chunk.attributes[i].correlation);
  }
  const auto correlated = [&](std::size_t i) { return !chains.empty() && !chains[i].probe.id.empty(); };
  std::size_t done = 0;
  while (done < chunk.probes.size()) {
    const auto rest = chunk.probes.subspan(done);
    const auto found = chunk.found.subspan(done, rest.size());
    // The head before the view: every record below this head is in a view at least as new as the one taken now.
    // Acquire: pairs with the release in append.
    const Lsn looked_at{live.marks.head.load(std::memory_order_acquire)};
    const View& view = reader.view();
    if (!view.buckets.empty()) {
      for (const Probe& probe : rest) view.buckets.back().newest_table().prefetch(probe.hash);
    }
    if (rest.size() == 1) {
      found[0] = reader.look(view, rest[0]);
    } else {
      reader.look(view, rest, found);
    }
    // Again under the mutex: a bucket may be dropped, or a clock set back, between the two.
    const Time known_before = dated ? known_since() : Time{};
    std::uint64_t unsettled = 0;  // Bit i: found[i] was a transaction's, not committed.
    static_assert(kChunk <= 64);
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!found[i] || is_live(*found[i])) continue;
      if (found[i]->uncommitted()) unsettled |= std::uint64_t{1} << i;
      found[i].reset();
    }
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!found[i] && correlated(done + i)) chains[done + i].found = reader.look(view, chains[done + i].probe);
    }
    const std::int64_t now_us = clock_->stamp_us();
    Need need = Need::none;
    bool appended = false;
    bool bell = false;
    std::size_t i = 0;
    if (!std::ranges::all_of(found, [](const auto& record) { return record.has_value(); })) {
      flusher_->throw_if_failed();
      const StoreLock lock(*live_);
      const Lsn head_before{live.marks.head.load(std::memory_order_relaxed)};  // Relaxed: only written under this lock.
      const std::int64_t boot_us = leases.any() ? host_.boot_us() : 0;
      if (live.layout.epoch() != view.epoch) need = Need::newer_view;
      for (; need == Need::none && i < rest.size(); ++i) {
        if (found[i]) continue;
        ChainEnd* chain = correlated(done + i) ? &chains[done + i] : nullptr;
        if (live.marks.head.load(std::memory_order_relaxed) != looked_at.value) {
          bool passed = false;
          found[i] = reader.look_again(view, rest[i], looked_at, passed);
          if (chain != nullptr) {
            if (const auto newer = reader.look_again(view, chain->probe, looked_at, passed)) chain->found = newer;
          }
          if (passed) {
            found[i].reset();
            need = Need::newer_view;
            break;
          }
          if (found[i] && is_live(*found[i])) continue;
          if (found[i] && found[i]->uncommitted()) unsettled |= std::uint64_t{1} << i;
          found[i].reset();
        }
        Lease* lease = leases.any() ? leases.find(rest[i].hash, rest[i].scope) : nullptr;
        if (lease != nullptr) {
          const LeaseState state = state_of(*lease, boot_us, owners);
          if (state == LeaseState::unknown) {
            need = Need::owner_check;
            break;
          }
          if (state == LeaseState::held) {
            policy.held(done + i, *lease);
            continue;
          }
        }
        if ((unsettled >> i & 1) != 0) {
          need = Need::settle;  // Its transaction died, and whether it had committed is to be found out.
          break;
        }
        if (dated && chunk.attributes[done + i].sent_at &&
            *chunk.attributes[done + i].sent_at < std::max(known_before, known_since())) {
          chunk.out[done + i] = {Verdict::too_old, Lsn{}};
          continue;
        }
        const std::int64_t time_us =
            std::clamp(now_us, live.marks.last_time_us.load(std::memory_order_relaxed), kMaxTimeUs);
        need = policy.accept(done + i, view, time_us, lease, chain, owners);
        if (need != Need::none) break;
      }
      appended = live.marks.head.load(std::memory_order_relaxed) != head_before.value;
      bell = appended && wants_bell(view, head_before);
    } else {
      i = rest.size();
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (found[j]) chunk.out[done + j] = {Verdict::duplicate, found[j]->lsn};
    }
    done += i;
    if (policy.wake) {
      leases.wake();
      policy.wake = false;
    }
    if (appended) flusher_->marked(bell);
    meet(need, owners);
  }
  if (!chunk.attributes.empty()) compare_attributes(reader, chunk);
}

/// decide() for one id.
inline Marked Engine::decide_one(Reader& reader, const Probe& probe, const Attributes* attributes, auto& policy) {
  Marked marked;
  std::optional<Found> found;
  const std::span<const Attributes> given(attributes, attributes == nullptr ? 0 : 1);
  policy.out = &marked;
  decide(reader, {std::span(&probe, 1), given, std::span(&found, 1), std::span(&marked, 1)}, policy);
  return marked;
}

/// Fresh ids get a record.
struct Engine::MarkPolicy {
  Engine& engine;
  Reader& reader;
  std::span<const Probe> probes;
  std::span<const Attributes> attributes;
  Marked* out;
  bool wake = false;

  Need accept(std::size_t i, const View& view, std::int64_t time_us, Lease* orphan, const ChainEnd* chain, Owners&) {
    RecordDraft draft{probes[i].scope, probes[i].id, probes[i].hash.digest()};
    if (!attributes.empty() && keeps(attributes[i])) {
      draft.texts = &attributes[i];
      draft.attributes = StoredAttributes::of(attributes[i]);
    }
    const Need need = engine.prepare(view, time_us, draft.bytes());
    if (need != Need::none) return need;
    if (orphan != nullptr) {
      wake |= engine.live_->leases().free(*orphan);
      HostCounters::add(engine.live_->header().counters.takeovers, 1);
    }
    out[i] = {Verdict::fresh, engine.append(reader, view, draft, probes[i].hash, time_us, chain)};
    return Need::none;
  }
  void held(std::size_t i, const Lease&) { out[i] = {Verdict::in_progress, Lsn{}}; }

  /// Whether there is something to be stored.
  static bool keeps(const Attributes& attributes) {
    return !attributes.correlation.empty() || attributes.fingerprint != 0 || !attributes.result.empty() ||
           !attributes.source.name.empty();
  }
};

}  // namespace oncelog::internal
