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

/// One claim or lock in shared memory. Plain fields are written before `token` and read under the store's mutex alone.
struct alignas(64) Lease {
  static constexpr std::size_t kIdBytes = 64;
  static constexpr std::uint64_t kOfTransaction = 1;  // LSNs are multiples of 8.

  std::atomic<std::uint64_t> token;  // The fencing token; 0 while the lease is nobody's.
  MessageHash hash;                  // Its key, with `scope`: 128 bits under a secret seed.
  std::uint32_t scope;
  std::int32_t pid;
  std::uint64_t start_ticks;
  std::int64_t deadline_us;  // Boot clock.
  // LSN at which its record is about to be accepted; 0 when none is. With kOfTransaction a transaction ends it: LSN 0
  // until its record is accepted, and that is not committed then.
  std::atomic<std::uint64_t> completing;
  std::atomic<std::uint32_t> next;  // In its chain, or in the free list: number + 1, 0 is the end.
  OrphanPolicy orphans;
  std::uint8_t waited_for;  // Someone sleeps until it is freed.
  std::uint16_t id_bytes;
  char id[kIdBytes];  // Its beginning, for people.

  ProcessIdentity owner() const { return {pid, start_ticks}; }
};
static_assert(sizeof(Lease) == 128 && alignof(Lease) == 64);

/// The lease table's counters; in the header of `live`.
struct alignas(64) LeaseHeader {
  // Upper bits of all tokens; 0 until the first lease is wanted, see Engine::assign_token_epoch. Under the mutex.
  std::atomic<std::uint64_t> token_epoch;
  std::atomic<std::uint64_t> next_token;  // Lower bits of the next one.
  std::atomic<std::uint64_t> twin_token;  // The same, stored after it: they show damage that would have tokens go back.
  std::atomic<std::uint32_t> held;  // Leases in chains. Not in one word with `used`, which it vouches for: see doubt.
  std::atomic<std::uint32_t> free_list;  // Number + 1 of the first one that was used and is free.
  std::atomic<std::uint32_t> used;       // Leases below were used at some time; those above never.
  std::atomic<std::uint32_t> suspect;    // 1: a process died with the store's mutex, see LeaseTable::mend.
  std::atomic<std::uint32_t> freed;      // Futex: moves when a lease that someone waits for is freed.
};
static_assert(sizeof(LeaseHeader) == 64);

/// The claims and locks that are held: a chained hash table in shared memory. A view on the memory; copies are free.
///
/// Thread safety: everything under the store's mutex, but for any() and the futex. A process may die between any two
/// stores of it. The chains are right at every instruction, since a lease enters and leaves its chain by one store;
/// what can be lost is a lease that is in neither chain nor free list, and what can be left over is one whose record
/// was accepted. mend() sets both right before the next use.
///
/// Cost: one cache miss for a chain, one for a lease; freed leases are used again first, while they are in the cache.
class LeaseTable {
 public:
  static constexpr std::uint32_t kMaxCapacity = std::uint32_t{1} << 22;
  static constexpr unsigned kEpochShift = 40;
  static constexpr std::uint64_t kMaxTokenNumber = (std::uint64_t{1} << kEpochShift) - 1;  // Within an epoch.

  static std::uint64_t chains_for(std::uint32_t capacity);
  static std::size_t bytes_for(std::uint32_t capacity);

  /// `memory` is bytes_for(capacity) long, aligned to 64 and, at first, zero, as the header. `path` names its file in
  /// errors, and outlives the view.
  LeaseTable(LeaseHeader& header, std::byte* memory, std::uint32_t capacity, const std::filesystem::path& path);

  LeaseHeader& header() const { return *header_; }

  /// Whether any lease is held. Relaxed: only decides under the store's mutex.
  bool any() const { return header_->held.load(std::memory_order_relaxed) != 0; }

  Lease* find(const MessageHash& hash, std::uint32_t scope) const;

  /// The lease that was taken under this token; nullptr when it has been freed or passed on since.
  Lease* find_held(const MessageHash& hash, std::uint32_t scope, std::uint64_t token) const;

  /// Whether there are tokens to be had; where the epoch has none left it is over, and another is to be assigned.
  bool has_tokens() const;

  /// Takes a lease for a key that has none; nullptr when all are taken.
  Lease* take(const MessageHash& hash, std::uint32_t scope, std::string_view id, const ProcessIdentity& owner,
              std::int64_t deadline_us, OrphanPolicy orphans) const;

  /// Passes a lease on to another owner under a new token.
  void pass_on(Lease& lease, const ProcessIdentity& owner, std::int64_t deadline_us, OrphanPolicy orphans) const;

  /// Frees a lease. Returns whether someone waits for that: then the caller calls wake() once it has let go of the
  /// mutex.
  bool free(Lease& lease) const;
  void wake() const;

  /// After a process has died with the store's mutex: collects what it lost, and frees the lease whose record was
  /// accepted
  /// (`head` is above it).
  void mend_if_suspect(Lsn head) const {
    if (header_->suspect.load(std::memory_order_relaxed) != 0) [[unlikely]]  // Relaxed: written under the mutex.
      mend(head);
  }

  /// For the only process that has the memory, which damage may have changed: has everything linked again from the
  /// leases themselves before the next use, and another epoch assigned unless the counters are right. `newest_epoch` is
  /// the last one that was assigned to anyone.
  void doubt(std::uint64_t newest_epoch) const;

  /// Whether a lease is one that its owner's end leaves held.
  static bool outlives_owner(const Lease& lease) { return lease.orphans != OrphanPolicy::free_at_once; }

  /// For a new table: goes on with the former one's tokens, so that they only grow, and with those of its leases that
  /// outlive their owners, token and all, as far as there is room.
  void take_over(const LeaseTable& former) const;

  /// Calls visit(lease) for each that is held; the visitor may free it.
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
  void fill(Lease& lease, const ProcessIdentity& owner, std::int64_t deadline_us, OrphanPolicy orphans) const;

  LeaseHeader* header_;
  std::atomic<std::uint32_t>* chains_;
  Lease* leases_;
  std::uint32_t capacity_;
  std::uint64_t chain_count_;
  const std::filesystem::path* path_;
};

}  // namespace oncelog::internal
