#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include <oncelog/error.h>
#include <oncelog/options.h>
#include <oncelog/record.h>

#include "base/message_hash.h"
#include "base/process_identity.h"

namespace oncelog::internal {

/// One claim or lock in shared memory. All fields are read and written under the store's mutex. Those that change with
/// the owner are written before `token`, so that a lease with a token has them all.
struct alignas(64) Lease {
  static constexpr std::size_t kIdBytes = 56;
  static constexpr std::uint64_t kOfTransaction = 1;  // LSNs are multiples of 8.

  std::atomic<std::uint64_t> token;  // The fencing token; 0 while nobody holds the lease.
  MessageHash hash;                  // Its key, together with `scope`: 128 bits under a secret seed.
  std::uint32_t scope;
  std::int32_t pid;
  std::uint64_t start_ticks;
  std::int64_t deadline_us;  // Boot clock.
  // The LSN at which the claim's record is about to be accepted; 0 before. kOfTransaction is added once the claim is a
  // transaction's: then the LSN is 0 until the record is reserved, and whether the record counts is decided when the
  // transaction is settled.
  std::atomic<std::uint64_t> completing;
  std::atomic<std::uint32_t> next;  // The next lease in its chain or in the free list: its number + 1; 0 is the end.
  OrphanPolicy orphans;
  std::uint8_t waited_for;  // 1: someone sleeps until it is freed.
  std::uint16_t id_bytes;
  char id[kIdBytes];          // The beginning of the id, for listings.
  std::uint64_t fingerprint;  // Of the payload, as given with the claim; 0: none.

  ProcessIdentity owner() const { return {pid, start_ticks}; }
};
static_assert(sizeof(Lease) == 128 && alignof(Lease) == 64);

/// The lease table's counters; in the header of `live`.
struct alignas(64) LeaseHeader {
  // The upper bits of all tokens; 0 until the first lease is needed. Then an epoch is counted in LMDB, so that tokens
  // grow across reboots, which wipe this memory. Written by a process that holds the writer gate; reset under the
  // mutex when the epoch's tokens are used up.
  std::atomic<std::uint64_t> token_epoch;
  std::atomic<std::uint64_t> next_token;  // The lower bits of the newest token.
  std::atomic<std::uint64_t> twin_token;  // The same, stored after it, to show damage that would make tokens go back.
  std::atomic<std::uint32_t> held;        // Leases in chains. Confirms `used`, so not in one word with it: see doubt().
  std::atomic<std::uint32_t> free_list;   // The first lease that was used and is free: its number + 1; 0: none.
  std::atomic<std::uint32_t> used;        // Leases from this number on were never used.
  std::atomic<std::uint32_t> suspect;     // 1 after a death with the store's mutex, or after damage: see mend().
  std::atomic<std::uint32_t> freed;       // Futex: moves when a lease that someone waits for is freed.
};
static_assert(sizeof(LeaseHeader) == 64);

/// The claims and locks that are held: a chained hash table in shared memory. A view on the memory; copies are cheap.
///
/// Everything but any(), wake() and the futex is called under the store's mutex. A process may die between any two of
/// its stores. The chains are right at every instruction, because a lease enters and leaves its chain by one store. A
/// death can lose a lease, which is then in neither chain nor free list, and can leave a lease whose record was
/// accepted. mend() corrects both before the next use.
///
/// Cost: one cache miss for the chain and one for the lease. Freed leases are used again first, while they are in the
/// cache.
class LeaseTable {
 public:
  static constexpr std::uint32_t kMaxCapacity = std::uint32_t{1} << 22;
  static constexpr unsigned kEpochShift = 40;
  static constexpr std::uint64_t kMaxEpoch = (std::uint64_t{1} << (64 - kEpochShift)) - 1;
  static constexpr std::uint64_t kMaxTokenNumber = (std::uint64_t{1} << kEpochShift) - 1;  // Within an epoch.

  static std::uint64_t chains_for(std::uint32_t capacity);
  static std::size_t bytes_for(std::uint32_t capacity);

  /// `memory` is bytes_for(capacity) long and aligned to 64; like the header it is zero at first. `path` names the file
  /// in errors, and outlives the view.
  LeaseTable(LeaseHeader& header, std::byte* memory, std::uint32_t capacity, const std::filesystem::path& path);

  LeaseHeader& header() const { return *header_; }

  /// Whether any lease is held. Relaxed: only a hint without the store's mutex.
  bool any() const { return header_->held.load(std::memory_order_relaxed) != 0; }

  Lease* find(const MessageHash& hash, std::uint32_t scope) const;

  /// The lease that was taken under this token; nullptr if it has been freed or passed on since.
  Lease* find_held(const MessageHash& hash, std::uint32_t scope, std::uint64_t token) const;

  /// Whether there are tokens. If the epoch has none left, ends it: another one is to be assigned.
  bool has_tokens() const;

  /// Takes a lease for a key that has none; nullptr if all leases are taken.
  Lease* take(const MessageHash& hash, std::uint32_t scope, std::string_view id, const ProcessIdentity& owner,
              std::int64_t deadline_us, OrphanPolicy orphans, std::uint64_t fingerprint = 0) const;

  /// Passes a lease on to another owner under a new token.
  void pass_on(Lease& lease, const ProcessIdentity& owner, std::int64_t deadline_us, OrphanPolicy orphans,
               std::uint64_t fingerprint = 0) const;

  /// Frees a lease. Returns whether someone waits for it: then the caller calls wake() after it has released the mutex.
  bool free(Lease& lease) const;
  void wake() const;

  /// If the links are suspect, builds them from the leases again, which finds what a dead process lost, and frees the
  /// lease whose record it had accepted, as `head` shows.
  void mend_if_suspect(Lsn head) const {
    if (header_->suspect.load(std::memory_order_relaxed) != 0) [[unlikely]]  // Relaxed: written under the mutex.
      mend(head);
  }

  /// For the only process that uses the memory, which may be damaged: makes the links suspect, and ends the epoch
  /// unless the counters are right. `newest_epoch` is the last one that was assigned.
  void doubt(std::uint64_t newest_epoch) const;

  /// Whether a lease stays held after its owner's death.
  static bool outlives_owner(const Lease& lease) { return lease.orphans != OrphanPolicy::free_at_once; }

  /// For a new table: takes over the former one's counters, so that tokens only grow, and those of its leases that
  /// outlive their owners, with their tokens, as far as there is room.
  void take_over(const LeaseTable& former) const;

  /// Calls visit(lease) for each lease that is held; the visitor may free it.
  template <typename Visit>
  void each(Visit visit) const {
    for (std::uint32_t i = 0; i < used(); ++i) {
      // Relaxed: written under the mutex.
      if (leases_[i].token.load(std::memory_order_relaxed) != 0) visit(leases_[i]);
    }
  }

 private:
  Error damaged() const;
  void mend(Lsn head) const;
  std::uint32_t used() const;
  Lease* at(std::uint32_t number_plus_one) const;
  std::uint64_t new_token() const;
  void fill(Lease& lease, const ProcessIdentity& owner, std::int64_t deadline_us, OrphanPolicy orphans,
            std::uint64_t fingerprint) const;

  LeaseHeader* header_;
  std::atomic<std::uint32_t>* chains_;
  Lease* leases_;
  std::uint32_t capacity_;
  std::uint64_t chain_count_;
  const std::filesystem::path* path_;
};

}  // namespace oncelog::internal
