#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "engine/accept.h"
#include "engine/compare.h"
#include "engine/visibility.h"

namespace oncelog::internal {

/// What is done with an id on which a decision is made, under the hold in which it was looked up last:
///   accept   the i-th id is fresh: takes the id for this call and sets its answer, or returns what is missing.
///            `orphan` is its lease that may be taken over, or null; `chain` is null when it has no correlation.
///   held     another owner holds a lease on it: sets its answer.
template <typename Policy>
concept DecisionPolicy = requires(Policy& policy, std::size_t i, Hold& hold, Lease* orphan, const ChainEnd* chain,
                                  Owners& owners) {
  { policy.accept(i, hold, orphan, chain, owners) } -> std::same_as<Need>;
  { policy.held(i, *orphan) } -> std::same_as<void>;
};

/// Ids that are decided on together, up to kChunk, and room for what is found out about them.
struct Chunk {
  std::span<const Probe> probes;
  std::span<const Attributes> attributes;  // As many, or none.
  std::span<std::optional<Found>> found;   // Of a duplicate or conflict, its record.
  std::span<Marked> out;
  std::span<RecordCopy> copies = {};  // Of those records, where they are wanted; as many, or none.
};

/// What every id goes through on which something is decided: it is looked up without a lock; if it has no live record,
/// it is looked up again under a hold at what is newer, and, if it still has none and nobody holds a lease on it, it is
/// given to the policy, under that same hold. Whatever the hold lacks is provided without it, and the rest begins
/// again. One thread.
template <DecisionPolicy Policy>
class Round {
 public:
  Round(Acceptor& acceptor, Reader& reader, const Chunk& chunk, Policy& policy)
      : acceptor_(acceptor), store_(acceptor.store()), reader_(reader), chunk_(chunk), policy_(policy) {
    for (const Attributes& given : chunk.attributes) {
      dated_ |= given.sent_at.has_value();
      if (!given.correlation.empty()) chains_.resize(chunk.probes.size());
    }
    for (std::size_t i = 0; i < chains_.size(); ++i) {
      if (const std::string_view name = chunk.attributes[i].correlation; !name.empty()) {
        chains_[i].probe = store_.correlation_probe(name);
      }
    }
  }

  void run() {
    while (done_ < chunk_.probes.size()) {
      const Glance glance = acceptor_.glance(reader_);
      look(glance);
      Need need = Need::none;
      std::size_t decided = rest();
      if (!std::ranges::all_of(chunk_.found.subspan(done_), [](const auto& found) { return found.has_value(); })) {
        decided = decide_under_hold(glance, need);
      }
      for (std::size_t i = done_; i < done_ + decided; ++i) {
        if (chunk_.found[i]) chunk_.out[i] = {Verdict::duplicate, chunk_.found[i]->lsn};
      }
      done_ += decided;
      acceptor_.meet(need, owners_);
    }
  }

 private:
  std::size_t rest() const { return chunk_.probes.size() - done_; }
  ChainEnd* chain_of(std::size_t i) { return chains_.empty() || chains_[i].probe.id.empty() ? nullptr : &chains_[i]; }
  RecordCopy* copy_of(std::size_t i) const { return chunk_.copies.empty() ? nullptr : &chunk_.copies[i]; }

  /// Without a lock. Afterwards `found` is set only for ids that were processed.
  void look(const Glance& glance) {
    const View& view = glance.view;
    if (rest() == 1) {
      chunk_.found[done_] = reader_.look(view, chunk_.probes[done_], copy_of(done_));
    } else {
      for (const Probe& probe : chunk_.probes.subspan(done_)) view.prefetch_newest(probe.hash);
      reader_.look(view, chunk_.probes.subspan(done_), chunk_.found.subspan(done_),
                   chunk_.copies.empty() ? chunk_.copies : chunk_.copies.subspan(done_));
    }
    // Again under the mutex: a bucket may be dropped, or a clock set back, between the two.
    if (dated_) known_before_ = store_.known_since();
    unsettled_ = 0;
    for (std::size_t i = done_; i < chunk_.found.size(); ++i) keep_if_processed(i);
    if (chains_.empty()) [[likely]]
      return;
    for (std::size_t i = done_; i < chunk_.found.size(); ++i) {
      ChainEnd* chain = chain_of(i);
      if (chain != nullptr && !chunk_.found[i]) chain->found = reader_.look(view, chain->probe);
    }
  }

  /// Whether the i-th id stays found. Notes where that depends on a transaction that has not ended.
  bool keep_if_processed(std::size_t i) {
    std::optional<Found>& found = chunk_.found[i];
    if (!found || is_processed(store_, *found)) return found.has_value();
    if (found->uncommitted()) unsettled_ |= std::uint64_t{1} << i;
    found.reset();
    return false;
  }

  /// Returns how many ids are decided; `need` is what the next one lacks.
  std::size_t decide_under_hold(const Glance& glance, Need& need) {
    store_.flusher().throw_if_failed();
    const LeaseTable leases = store_.state().leases();
    Hold hold(store_, reader_, glance);
    const std::int64_t boot_us = leases.any() ? store_.host().boot_us() : 0;
    need = hold.need();
    std::size_t i = done_;
    for (; need == Need::none && i < chunk_.probes.size(); ++i) {
      if (chunk_.found[i]) continue;
      need = decide(i, hold, leases, boot_us);
      if (need != Need::none) break;
    }
    return i - done_;
  }

  Need decide(std::size_t i, Hold& hold, const LeaseTable& leases, std::int64_t boot_us) {
    const Probe& probe = chunk_.probes[i];
    if (hold.moved()) {
      if (!look_again(i, hold)) return Need::newer_view;
      if (chunk_.found[i]) return Need::none;
    }
    Lease* lease = leases.any() ? leases.find(probe.hash, probe.scope) : nullptr;
    if (lease != nullptr) {
      const LeaseState state = state_of(*lease, store_.self(), boot_us, owners_);
      if (state == LeaseState::unknown) return Need::owner_check;
      if (state == LeaseState::held) {
        policy_.held(i, *lease);
        if (has_another_payload(i, *lease)) chunk_.out[i].verdict = Verdict::conflict;
        return Need::none;
      }
    }
    // Its transaction died: whether that committed has to be found out first.
    if ((unsettled_ >> i & 1) != 0) return Need::settle;
    if (dated_ && too_old(i)) {
      chunk_.out[i] = {Verdict::too_old, Lsn{}};
      return Need::none;
    }
    return policy_.accept(i, hold, lease, chain_of(i), owners_);
  }

  /// At what is newer than the glance; false when the ring has passed it.
  bool look_again(std::size_t i, Hold& hold) {
    bool passed = false;
    chunk_.found[i] = hold.look_again(chunk_.probes[i], passed, copy_of(i));
    if (ChainEnd* chain = chain_of(i); chain != nullptr) {
      if (const auto newer = hold.look_again(chain->probe, passed)) chain->found = newer;
    }
    if (passed) {
      chunk_.found[i].reset();
      return false;
    }
    keep_if_processed(i);
    return true;
  }

  /// Whether the holder of the id was given another payload.
  bool has_another_payload(std::size_t i, const Lease& lease) const {
    return !chunk_.attributes.empty() && payloads_differ(chunk_.attributes[i].fingerprint, lease.fingerprint);
  }

  bool too_old(std::size_t i) const {
    const std::optional<Time>& sent_at = chunk_.attributes[i].sent_at;
    return sent_at && *sent_at < std::max(known_before_, store_.known_since());
  }

  Acceptor& acceptor_;
  OpenedStore& store_;
  Reader& reader_;
  const Chunk& chunk_;
  Policy& policy_;
  Owners owners_;
  std::vector<ChainEnd> chains_;  // As many as ids, or none.
  bool dated_ = false;
  Time known_before_{};
  std::uint64_t unsettled_ = 0;  // Bit i: the i-th id's record is a transaction's, not committed.
  static_assert(kChunk <= 64);
  std::size_t done_ = 0;  // Ids decided.
};

/// Decides on a chunk; its answers are complete then, but for attributes that differ (see compare_attributes).
template <DecisionPolicy Policy>
void decide(Acceptor& acceptor, Reader& reader, const Chunk& chunk, Policy& policy) {
  Round<Policy>(acceptor, reader, chunk, policy).run();
}

}  // namespace oncelog::internal
