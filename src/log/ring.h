#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <oncelog/record.h>

#include "log/record_codec.h"

namespace oncelog::internal {

/// Where the stream of records stands; lives in shared memory. Each on its own cache line with what is written beside
/// it.
///
/// Invariants: flushed <= head <= flushed + ring size; head <= writing. All only grow. Producers write `head`,
/// `writing` and `last_time_us` under the store's mutex. `flushed` is raised to the end of the log after a commit: by
/// the thread that committed, also after it has released the writer gate, or by the next holder of the gate.
struct Watermarks {
  /// Everything below is accepted: its bytes, filter bits and index slot are in place.
  alignas(64) std::atomic<std::uint64_t> head;
  /// Bytes below may have been written over: the ring still holds what is at or above writing - ring size. Raised
  /// before the bytes are touched, so it may run ahead of head for good when a producer dies.
  std::atomic<std::uint64_t> writing;
  /// The newest record's processed_at.
  std::atomic<std::int64_t> last_time_us;
  /// Everything below is on disk, in LMDB.
  alignas(64) std::atomic<std::uint64_t> flushed;
  /// The same, stored after it: where they agree and the log ends below, the log was replaced by an older one; where
  /// they do not, `flushed` may be damaged. Relaxed, as only Recovery reads it, when no other process uses the memory.
  std::atomic<std::uint64_t> flushed_twin;
};
static_assert(sizeof(Watermarks) == 128);

/// The tail of the stream of records: a ring of 8-byte words in shared memory, addressed by LSN. A view on the memory;
/// copies are free.
///
/// Thread safety: one writer at a time (under the store's mutex); any number of readers without a lock. A reader copies
/// first and asks afterwards whether a writer can have touched what it copied, like a seqlock whose sequence is
/// Watermarks::writing.
class Ring {
 public:
  /// `start` is the LSN at which this memory began; the ring never held anything below. `bytes` is a power of two.
  /// `cap` is SharedHeader::max_bytes.
  Ring(std::atomic<std::uint64_t>* words, std::uint64_t bytes, Lsn start, Watermarks& marks,
       const std::atomic<std::uint64_t>& cap)
      : words_(words), bytes_(bytes), mask_(bytes / kRecordUnit - 1), start_(start), marks_(&marks), cap_(&cap) {}

  std::uint64_t bytes() const { return bytes_; }

  /// What may be accepted and not flushed, reserve included: all that the ring holds, and under a cap no more than one
  /// commit can put into a data.mdb that is full, without making it larger.
  std::uint64_t lent_bytes() const {
    const std::uint64_t cap = cap_->load(std::memory_order_relaxed);  // Relaxed: see SharedHeader::max_bytes.
    return cap == 0 ? bytes_ : std::min(bytes_, cap / kCapShare);
  }
  static constexpr std::uint64_t kCapShare = 16;
  bool capped() const { return cap_->load(std::memory_order_relaxed) != 0; }  // Relaxed, as above.

  /// What only a transaction's records may take, so that it finds room although nobody can flush before it has ended.
  std::uint64_t reserve_bytes() const { return reserve_of(lent_bytes()); }
  static constexpr std::uint64_t kReserveShare = 8;

  /// What may be accepted and not flushed: all that is lent for a transaction's records, and all but the reserve for
  /// others. Reads the cap once, which another process may change at any time.
  std::uint64_t room_bytes(bool reserved) const {
    const std::uint64_t lent = lent_bytes();
    return reserved ? lent : lent - reserve_of(lent);
  }

  /// How many bytes must be waiting for a flush to begin at once.
  std::uint64_t bell_bytes() const { return lent_bytes() / 4; }

  /// Writes a record at `at` (== head). The caller has made sure that at + size <= flushed + bytes().
  void write(Lsn at, std::span<const std::uint64_t> record) {
    const std::uint64_t end = at.value + record.size() * kRecordUnit;
    // Never lowered: a producer that died may have scribbled further than this one will.
    if (marks_->writing.load(std::memory_order_relaxed) < end) {
      // Release: pairs with the acquire in holds. A reader that finds the ring past a record also sees the commit that
      // allowed that.
      marks_->writing.store(end, std::memory_order_release);
    }
    std::uint64_t word = at.value / kRecordUnit;
    for (const std::uint64_t value : record) {
      // Release: a reader of this word (the acquire in read) also sees the `writing` stored above.
      words_[word++ & mask_].store(value, std::memory_order_release);
    }
  }

  /// Whether `lsn` may still be in the ring; false means that it is in LMDB.
  bool holds(Lsn lsn) const {
    // Acquire: pairs with the release of `writing` in write, and through the words read before with theirs.
    return lsn >= start_ && lsn.value + bytes_ >= marks_->writing.load(std::memory_order_acquire);
  }

  /// Copies out.size() words from `lsn`; false when they may have been written over meanwhile.
  bool read(Lsn lsn, std::span<std::uint64_t> out) const {
    if (!holds(lsn)) return false;
    std::uint64_t word = lsn.value / kRecordUnit;
    for (std::uint64_t& value : out) {
      // Acquire: pairs with the release in write, and keeps the check below after the copy.
      value = words_[word++ & mask_].load(std::memory_order_acquire);
    }
    return holds(lsn);
  }

  void prefetch(Lsn lsn) const { __builtin_prefetch(&words_[(lsn.value / kRecordUnit) & mask_]); }

  /// Copies bytes between flushed and head, which nobody writes to: `from` and out.size() are multiples of 8. The
  /// caller holds the writer gate, so that no other commit frees these bytes, and has read head with acquire.
  void copy_stable(Lsn from, std::span<std::byte> out) const {
    std::uint64_t word = from.value / kRecordUnit;
    for (std::size_t at = 0; at < out.size(); at += kRecordUnit) {
      const std::uint64_t value = words_[word++ & mask_].load(std::memory_order_relaxed);
      std::memcpy(out.data() + at, &value, kRecordUnit);
    }
  }

  /// Puts another first word, of other flags, into a record between flushed and head. Under the writer gate. One store,
  /// so that a reader sees the one or the other. Release: pairs with the acquire in read.
  void put_first_word(Lsn at, std::uint64_t word) {
    words_[(at.value / kRecordUnit) & mask_].store(word, std::memory_order_release);
  }

  /// The header of the record at `at`, between flushed and head; not checked.
  RecordHeader stable_header(Lsn at) const {
    std::array<std::byte, (kRecordHeaderBytes + kRecordUnit - 1) / kRecordUnit * kRecordUnit> bytes;
    copy_stable(at, bytes);
    return RecordHeader::load(bytes.data());
  }

 private:
  std::uint64_t reserve_of(std::uint64_t lent) const { return std::min(bytes_ / kReserveShare, lent / 2); }

  std::atomic<std::uint64_t>* words_;
  std::uint64_t bytes_;
  std::uint64_t mask_;
  Lsn start_;
  Watermarks* marks_;
  const std::atomic<std::uint64_t>* cap_;
};

}  // namespace oncelog::internal
