#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <oncelog/error.h>
#include <oncelog/record.h>

#include "shared/shared_state.h"

namespace oncelog::internal {

/// The records of a transaction are accepted into the stream before its commit, which gives them their LSNs, but do not
/// count until then: they are flagged kUncommitted in the ring and announced in PendingTransaction. The commit removes
/// the flag, which makes them messages; without a commit the flag becomes kVoid, which makes them a gap of their
/// length. The end of the log in LMDB shows which of the two it is. So a transaction that died at any point can be
/// settled by another process: by its next flush or transaction (GroupCommit::catch_up), or by recovery.
///
/// Called by the holder of the writer gate, or by the store's only process; announce() under the store's mutex as well.
/// any() is thread-safe.
class Uncommitted {
 public:
  Uncommitted(const SharedState& live, std::uint64_t hash_seed)
      : state_(&live), live_(&live.header()), ring_(live.ring()), leases_(live.leases()), hash_seed_(hash_seed) {}

  /// Whether a transaction is announced: one that runs, or one to settle. Acquire: pairs with the release in announce.
  bool any() const { return live_->pending.begin.load(std::memory_order_acquire) != 0; }

  /// Announces the records [begin, end), before they are accepted.
  void announce(Lsn begin, Lsn end) const;

  /// Settles what a dead transaction left, if there is one: its records, and the claims that it was to complete.
  /// `log_end` is where the log ends. Must come before `flushed` passes the records, because then the ring may be
  /// written over. After a death in between it can be done again.
  void settle(Lsn log_end);

  /// The steps of settle(), for the transaction itself. The first makes the announced records messages if the log,
  /// which ends at `log_end`, has them, and void otherwise; it returns which. The second withdraws the announcement.
  bool settle_records(Lsn log_end);
  void done() const;

  /// For a block that is being written into the log: removes kUncommitted from its records.
  void make_messages(std::span<std::byte> block, Lsn lsn) const;
  /// The same for records whose transaction never committed, as the log's end shows: makes them void.
  void make_void(std::span<std::byte> block, Lsn lsn) const;

  /// Whether the announcement is possible: settle() would find the records, and the log has all of them or none.
  /// Anything else is damage. For the only process that uses the memory.
  bool sound(Lsn log_end) const;
  /// Whether the record at `lsn` is one of those that are announced.
  bool announces(Lsn lsn) const;

 private:
  Error damaged(Lsn lsn) const;
  void reflag(std::span<std::byte> block, Lsn lsn, std::uint32_t instead) const;

  const SharedState* state_;
  SharedHeader* live_;
  Ring ring_;
  LeaseTable leases_;
  std::uint64_t hash_seed_;
};

}  // namespace oncelog::internal
