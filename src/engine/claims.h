#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <oncelog/options.h>
#include <oncelog/record.h>

#include "engine/accept.h"
#include "engine/engine.h"

namespace oncelog::internal {

class Records;

/// Claims and locks from their holders' point of view: taken, completed, renewed, given up. Thread-safe.
class Claims {
 public:
  Claims(OpenedStore& store, Acceptor& acceptor, LeaseAdmin& admin, Records& records)
      : store_(store), acceptor_(acceptor), admin_(admin), records_(records) {}

  /// See Engine of these names. All begin() but try_begin report what they decide.
  Begun begin(const ScopeRef& scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
              std::chrono::milliseconds patience, HeldLease& held);
  Lsn begin(const ScopeRef& scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
            std::span<Verdict> out, std::vector<HeldLease>& held);
  bool wait_until_free(ScopeKey scope, std::string_view id, std::chrono::milliseconds patience);
  Lsn complete(std::span<HeldLease> held, std::span<const Attributes> attributes);
  bool renew(const HeldLease& held, std::chrono::milliseconds lease);
  void abandon(std::span<const HeldLease> held);
  bool lock(std::string_view name, std::chrono::milliseconds lease, std::chrono::milliseconds patience, HeldLease& held,
            std::optional<ClaimOwner>& owner);

  /// What one attempt to claim an id found.
  struct Attempt {
    Marked marked;
    std::optional<Found> found;  // Of a duplicate or conflict.
    RecordCopy copy;             // Its record, where it has attributes.
    std::optional<ClaimOwner> owner;
  };
  /// begin() for a caller that reports the decision itself: a transaction.
  Attempt try_begin(ScopeKey scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
                    std::chrono::milliseconds patience, HeldLease& held);
  /// Has a transaction of this process end the claim: as long as the process lives its lease does not expire before.
  bool give_to_transaction(const HeldLease& held);
  /// Frees what is held; returns how many were still the holder's. Does not count them.
  std::size_t let_go(std::span<const HeldLease> held);

 private:
  struct BeginPolicy;
  struct Completion;

  Need take_lease(Lease* orphan, const Probe& probe, const ClaimTerms& terms, std::uint64_t fingerprint, Owners& owners,
                  std::uint64_t& token);
  template <typename Take>
  bool when_free(const Probe& probe, std::chrono::milliseconds patience, std::optional<ClaimOwner>& owner, Take take);
  void sleep_until_freed(const Probe& probe, std::chrono::steady_clock::time_point limit);

  OpenedStore& store_;
  Acceptor& acceptor_;
  LeaseAdmin& admin_;
  Records& records_;
};

}  // namespace oncelog::internal
