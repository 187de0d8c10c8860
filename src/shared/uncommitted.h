#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <oncelog/error.h>
#include <oncelog/record.h>

#include "shared/shared_state.h"

namespace oncelog::internal {

/// The records of a transaction that are accepted into the stream, so that they have their LSNs, but do not exist
/// before its commit: flagged kUncommitted in the ring, and announced in PendingTransaction. After the commit the flag
/// goes (they are messages); without one it becomes kVoid (they are nothing, of some length). Which of the two it is
/// LMDB's own end of the log tells, so that whoever next holds LMDB's write lock can decide for a transaction that died
/// at any point.
///
/// Thread safety: by the holder of LMDB's write lock alone, and announce() under the store's mutex as well.
class Uncommitted {
 public:
  Uncommitted(const SharedState& live, std::uint64_t hash_seed)
      : state_(&live), live_(&live.header()), ring_(live.ring()), leases_(live.leases()), hash_seed_(hash_seed) {}

  /// Whether there is a transaction to settle. Any thread. Acquire: pairs with the release in announce.
  bool any() const { return live_->pending.begin.load(std::memory_order_acquire) != 0; }

  /// Before the records [begin, end) are accepted.
  void announce(Lsn begin, Lsn end) const;

  /// Settles what a transaction that died has left, if there is such: its records, and the claims that it was to
  /// complete. Comes before `flushed` may pass the records, since the ring may be written over then. A death in between
  /// leaves it to be done again.
  void settle(Lsn log_end);

  /// The steps of settle(), for the transaction itself. Makes the announced records messages when the log, which ends
  /// at `log_end`, has them, and void otherwise; returns which.
  bool settle_records(Lsn log_end);
  void done() const;

  /// For a block on its way into the log: takes kUncommitted from its records.
  void make_messages(std::span<std::byte> block, Lsn lsn) const;
  /// The same for records whose transaction never committed, as the log's end tells: makes them void.
  void make_void(std::span<std::byte> block, Lsn lsn) const;

  /// Whether what is announced can be: settle() finds its records, and a transaction is in the log whole or not at all.
  /// Anything else is damage. For the only process that has the memory.
  bool sound(Lsn log_end) const;
  /// Whether a record there is one of those that are announced.
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
