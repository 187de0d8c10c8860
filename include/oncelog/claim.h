#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

namespace internal {
class Engine;
struct HeldBatch;
struct HeldClaim;
}  // namespace internal

/// Who holds a claim that was asked for.
struct ClaimOwner {
  std::int32_t process = 0;  ///< Its process id.
  Time deadline;             ///< When its lease is over, as far as the clock goes on as it does.
};

/// What complete() tells.
struct Completed {
  /// False when the lease was over and someone else has had the id since: nothing was marked.
  bool in_time = false;
  Lsn lsn = {};  ///< Of the record; 0 when it came too late.

  explicit operator bool() const { return in_time; }
};

/// The right to process one message, got from Scope::begin: process, then mark. While it is held no other thread or
/// process gets the id: they are told in_progress. What becomes of it when its owner dies or its lease passes is the
/// scope's choice (OrphanPolicy). A reboot ends all claims, and so does the opening of a store whose shared memory has
/// a damaged header; tokens go on growing.
///
/// One thread at a time; movable. The destructor abandons what is not completed. Taking and ending a claim costs about
/// a mark, without a system call unless someone waits for it.
class ONCELOG_API Claim {
 public:
  Claim(Claim&& other) noexcept;
  Claim& operator=(Claim&& other) noexcept;
  ~Claim();

  /// Whether the message is this caller's to process: fresh, and not completed or abandoned yet.
  explicit operator bool() const { return lease_ != nullptr; }

  /// What begin() found: fresh when the claim was taken.
  Verdict verdict() const { return verdict_; }
  friend bool operator==(const Claim& claim, Verdict wanted) { return claim.verdict_ == wanted; }

  /// The record of a duplicate or conflict, with the result of the first processing.
  const std::optional<Record>& record() const { return record_; }
  /// The duplicate came from the source that the record came from (Attributes::source).
  bool redelivered() const { return redelivered_; }
  /// Who has it, when in_progress.
  const std::optional<ClaimOwner>& owner() const { return owner_; }

  /// A number that grows with each claim and lock that is taken in the store, over reboots as well: pass it to whatever
  /// the work writes to, so that it can refuse a late owner's writes. 0 when nothing was taken.
  std::uint64_t token() const { return token_; }

  /// Marks the id as processed and ends the claim, in one step for all others. What an attribute does not say is taken
  /// from those given to begin(). A lease that is over is no obstacle unless someone else has taken the id meanwhile.
  /// Errors: those of Scope::mark; the claim is still held then, unless only the wait for the disk has failed: the id
  /// stands as processed then, and the Error says so. invalid_argument when it is not held.
  Completed complete(const Attributes& attributes = {}) { return complete(attributes, ack_); }
  Completed complete(const Attributes& attributes, Ack ack);

  /// Frees the id at once, for redelivery.
  void abandon() noexcept;

  /// Sets the lease to end this long from now; false when someone else has taken the id.
  bool renew(std::chrono::milliseconds lease);

 private:
  friend class Scope;
  friend class Transaction;
  Claim();

  std::shared_ptr<internal::Engine> engine_;
  std::unique_ptr<internal::HeldClaim> lease_;  // While it is held.
  Verdict verdict_ = Verdict::fresh;
  bool redelivered_ = false;
  Ack ack_ = Ack::host;
  std::uint64_t token_ = 0;
  std::optional<Record> record_;
  std::optional<ClaimOwner> owner_;
};

/// Claims of many ids at once: at about a third of the cost of each, and with one answer. As Claim otherwise.
class ONCELOG_API ClaimBatch {
 public:
  ClaimBatch(ClaimBatch&& other) noexcept;
  ClaimBatch& operator=(ClaimBatch&& other) noexcept;
  ~ClaimBatch();

  /// For each id in order: fresh, duplicate or in_progress. A second occurrence of an id within the batch is a
  /// duplicate of the first.
  std::span<const Verdict> verdicts() const { return verdicts_; }

  /// Marks all that are held and ends their claims. Returns the newest LSN that stands for an id of the batch, earlier
  /// records of duplicates included: once Store::durable() is above it all of them may be acknowledged. 0 for an
  /// empty batch. `late`, where given, gets the number of those that came too late.
  Lsn complete(std::size_t* late = nullptr);

  /// Frees the ids from this position on, for redelivery: the batch is then that of the ids before it. For a worker who
  /// has come to a message that it cannot process, or that is in progress elsewhere.
  void abandon_from(std::size_t position) noexcept;

  void abandon() noexcept;

 private:
  friend class Scope;
  ClaimBatch();

  std::shared_ptr<internal::Engine> engine_;
  std::unique_ptr<internal::HeldBatch> held_;  // Until it is completed or abandoned.
  std::vector<Verdict> verdicts_;
  Lsn newest_;
};

/// "Only one instance at a time": a named lock of the store, from Store::lock, with the lease and the death of its
/// owner handled as a claim's are under OrphanPolicy::free_at_once. As Claim: one thread, movable, the destructor lets
/// go.
class ONCELOG_API Lock {
 public:
  Lock(Lock&& other) noexcept;
  Lock& operator=(Lock&& other) noexcept;
  ~Lock();

  /// Whether it was got, and not let go since. That its lease is not over only renew() can tell.
  explicit operator bool() const { return lease_ != nullptr; }
  const std::optional<ClaimOwner>& owner() const { return owner_; }
  /// The fencing token; see Claim::token.
  std::uint64_t token() const { return token_; }
  bool renew(std::chrono::milliseconds lease);
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
