#pragma once

/// @file
/// Claims and locks: what Scope::begin and Store::lock return.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/claim_info.h>
#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

namespace internal {
class Engine;
struct HeldBatch;
struct HeldClaim;
}  // namespace internal

/// What Claim::complete returns.
struct Completed {
  /// Whether the id was marked. False when the claim was lost: its lease expired and another owner took the id, or an
  /// operator released it. Nothing was marked then.
  bool in_time = false;
  Lsn lsn = {};  ///< The record's; 0 when in_time is false.

  /// in_time.
  explicit operator bool() const { return in_time; }
};

/// The right to process one message, from Scope::begin: process, then mark. While it is held, no other thread or
/// process gets the id; they get in_progress. complete() and abandon() free the id at once. Its OrphanPolicy
/// only covers the owner's death and the lease's expiry. A reboot ends all claims, and so does opening a store whose
/// shared memory has a damaged header; tokens keep growing.
///
/// Not thread-safe: one thread at a time. Movable. The destructor abandons a claim that is still held, and throws
/// nothing. A claim keeps its store open. Taking and completing one costs about twice as much as a mark, without a
/// system call unless somebody waits for the id.
class ONCELOG_API Claim {
 public:
  /// Takes over what `other` holds.
  Claim(Claim&& other) noexcept;
  /// Abandons what this claim holds, then takes over what `other` holds.
  Claim& operator=(Claim&& other) noexcept;
  ~Claim();

  /// True while this handle holds the claim: it was fresh, and is neither completed nor abandoned. Does not detect that
  /// the lease has expired: call renew().
  explicit operator bool() const { return lease_ != nullptr; }

  /// What begin() decided; fresh when the claim was taken.
  Verdict verdict() const { return verdict_; }
  friend bool operator==(const Claim& claim, Verdict wanted) { return claim.verdict_ == wanted; }

  /// The record of a duplicate or conflict, with the result of the first processing. Empty for the other verdicts, for
  /// a conflict with what another worker is processing, and when the record has expired since the decision.
  const std::optional<Record>& record() const { return record_; }
  /// Whether the duplicate came from the source that its record came from (Attributes::source).
  bool redelivered() const { return redelivered_; }
  /// Who holds the id, when the verdict is in_progress, or conflict with what is being processed; empty otherwise.
  const std::optional<ClaimOwner>& owner() const { return owner_; }

  /// The fencing token: a number that grows with each claim and lock taken in the store, over reboots as well. Pass it
  /// to whatever the work writes to, so that it can refuse the writes of a late owner. 0 when nothing was taken.
  std::uint64_t token() const { return token_; }

  /// Marks the id as processed and ends the claim, atomically. Attributes that are unset keep those given to begin(); a
  /// result is only taken from here. A claim whose lease has expired still completes, unless another owner has taken
  /// the id. Waits as Options::ack says. Costs about a mark.
  ///
  /// Errors: those of Scope::mark. The claim is still held after one, so that complete() may be called again. Only when
  /// the wait for the disk fails is it not: the id stands as processed, and the Error says so. invalid_argument when
  /// the claim is not held.
  Completed complete(const Attributes& attributes = {}) { return complete(attributes, ack_); }
  /// complete() that waits as `ack` says.
  Completed complete(const Attributes& attributes, Ack ack);

  /// Frees the id at once, so that the next delivery gets it. Nothing happens when the claim is not held.
  void abandon() noexcept;

  /// Sets the lease to expire `lease` from now, 1 ms to 100 years. An expired lease that nobody has taken over is
  /// renewed as well. Returns false when the claim is not held or was lost: another owner has taken the id, or an
  /// operator has released it. A claim that is kept alive gets its own length again. Errors: invalid_argument.
  bool renew(std::chrono::milliseconds lease);

  /// Renews the lease now, and has the store's background renew it while this handle holds the claim: by the length
  /// that begin() was given each time, and at a third of it; but for no longer than `most` from now, 1 ms to 100 years.
  /// After that the lease has expired, and another owner may take the id. A process that is stopped renews nothing.
  /// Called again, it counts from then. Returns false when the claim is not held or was lost, as renew() does. Errors:
  /// invalid_argument; io when the system cannot start a thread.
  bool keep_alive(std::chrono::milliseconds most);

 private:
  friend class Scope;
  friend class Transaction;
  Claim();
  void keep(std::chrono::milliseconds most);

  std::shared_ptr<internal::Engine> engine_;
  std::unique_ptr<internal::HeldClaim> lease_;  // While it is held.
  Verdict verdict_ = Verdict::fresh;
  bool redelivered_ = false;
  Ack ack_ = Ack::host;
  std::uint64_t token_ = 0;
  std::optional<Record> record_;
  std::optional<ClaimOwner> owner_;
};

/// Claims of many ids at once, from Scope::begin, at about a third of the cost of each. The OrphanPolicy
/// of the Scope applies to each of them, as to a Claim.
///
/// Not thread-safe: one thread at a time. Movable. The destructor releases the ids that are still held, and throws
/// nothing. A batch keeps a copy of its ids, and keeps its store open.
class ONCELOG_API ClaimBatch {
 public:
  /// Takes over what `other` holds.
  ClaimBatch(ClaimBatch&& other) noexcept;
  /// Releases what this batch holds, then takes over what `other` holds.
  ClaimBatch& operator=(ClaimBatch&& other) noexcept;
  ~ClaimBatch();

  /// For each id in order: fresh (this batch holds it), duplicate or in_progress. A second occurrence of an id within
  /// the batch is a duplicate of the first. Valid until abandon_from() is called and as long as the batch.
  std::span<const Verdict> verdicts() const { return verdicts_; }

  /// Marks all ids that are held and ends their claims. Each id is marked atomically, the batch is not. Does not wait
  /// for the disk, whatever Options::ack says.
  ///
  /// Returns the highest LSN over the batch, records of duplicates included; 0 when no id of it has a record. Once
  /// Store::durable() is above it, the messages that were fresh or duplicate may be acknowledged, except late ones.
  ///
  /// `late`, unless null, receives how many ids were lost to another owner or released by an operator. Nothing was
  /// marked for these, and their new owners may still fail: ask Scope::find which ids are marked before you acknowledge
  /// any.
  ///
  /// Errors: those of Scope::mark; complete() may be called again for the rest. invalid_argument when the batch was
  /// completed or abandoned before.
  Lsn complete(std::size_t* late = nullptr);

  /// Releases the ids from `position` on and truncates the batch to those before it. For a worker that comes to a
  /// message which it cannot process, or which is in progress elsewhere.
  void abandon_from(std::size_t position) noexcept;

  /// Releases all ids that are held.
  void abandon() noexcept;

 private:
  friend class Scope;
  ClaimBatch();

  std::shared_ptr<internal::Engine> engine_;
  std::unique_ptr<internal::HeldBatch> held_;  // Until it is completed or abandoned.
  std::vector<Verdict> verdicts_;
  Lsn newest_;
};

/// "Only one instance at a time": a named lock of the store, from Store::lock. The owner's death frees it at once, and
/// the lease's expiry lets another owner take it, as a claim under OrphanPolicy::free_at_once.
///
/// Not thread-safe: one thread at a time. Movable. The destructor releases a lock that is still held, and throws
/// nothing. A lock keeps its store open.
class ONCELOG_API Lock {
 public:
  /// Takes over what `other` holds.
  Lock(Lock&& other) noexcept;
  /// Releases what this lock holds, then takes over what `other` holds.
  Lock& operator=(Lock&& other) noexcept;
  ~Lock();

  /// True while this handle holds the lock. Does not detect that the lease has expired: call renew().
  explicit operator bool() const { return lease_ != nullptr; }
  /// Who holds the lock, when lock() did not get it; empty otherwise.
  const std::optional<ClaimOwner>& owner() const { return owner_; }
  /// The fencing token; see Claim::token.
  std::uint64_t token() const { return token_; }
  /// Sets the lease to expire `lease` from now; see Claim::renew.
  bool renew(std::chrono::milliseconds lease);
  /// Frees the lock at once. Nothing happens when it is not held.
  void release() noexcept;

 private:
  friend class Store;
  Lock();

  std::shared_ptr<internal::Engine> engine_;
  std::unique_ptr<internal::HeldClaim> lease_;
  std::uint64_t token_ = 0;
  std::optional<ClaimOwner> owner_;
};

}  // namespace oncelog
