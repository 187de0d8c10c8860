#include "shared/uncommitted.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/failpoint.h"
#include "log/intact_record.h"
#include "log/ring_salvage.h"
#include "shared/store_lock.h"

namespace oncelog::internal {
namespace {

/// The record's first word with other flags.
std::uint64_t first_word(const RecordView& record, Lsn lsn, std::uint64_t digest, std::uint32_t flags) {
  const std::uint32_t units_flags = (record.header.units_flags & ((1U << kUnitBits) - 1)) | flags << kUnitBits;
  return RecordHeader::first_word(record.checksum(units_flags, lsn, digest), units_flags);
}

}  // namespace

void Uncommitted::announce(Lsn begin, Lsn end) const {
  live_->pending.end.store(end.value, std::memory_order_relaxed);  // Published by the release of begin.
  failpoint();
  live_->pending.begin.store(begin.value, std::memory_order_release);  // Pairs with the acquires in any and settle.
}

void Uncommitted::settle(Lsn log_end) {
  if (!any()) return;
  const bool committed = settle_records(log_end);
  const std::uint64_t begin = live_->pending.begin.load(std::memory_order_relaxed);  // Read above with acquire.
  failpoint();
  bool waited_for = false;
  {
    const StoreLock lock(*state_);
    leases_.each([&](Lease& lease) {
      const std::uint64_t completing = lease.completing.load(std::memory_order_relaxed);
      if ((completing & Lease::kOfTransaction) == 0) return;
      // Those below belong to transactions that died before they accepted anything.
      if (committed && completing >= begin) {
        waited_for |= leases_.free(lease);
      } else {
        lease.completing.store(0, std::memory_order_relaxed);
      }
      failpoint();
    });
  }
  if (waited_for) leases_.wake();
  done();
}

void Uncommitted::done() const {
  live_->pending.begin.store(0, std::memory_order_release);  // Pairs with the acquire in any.
}

bool Uncommitted::sound(Lsn log_end) const {
  const Lsn begin{live_->pending.begin.load(std::memory_order_acquire)};  // Pairs with the release in announce.
  if (begin.value == 0) return true;
  const Lsn end{live_->pending.end.load(std::memory_order_relaxed)};
  // Acquire: pair with the releases by producers and flushers, which have all ended by now.
  const std::uint64_t flushed = live_->marks.flushed.load(std::memory_order_acquire);
  const Lsn head{live_->marks.head.load(std::memory_order_acquire)};
  if (begin.value < flushed || end <= begin || end.value - flushed > ring_.bytes() || begin.value % kRecordUnit != 0 ||
      (log_end > begin && log_end != end)) {
    return false;
  }
  return RingSalvage(ring_, hash_seed_).whole_until(begin, head) >= std::min(end, head);
}

bool Uncommitted::announces(Lsn lsn) const {
  const std::uint64_t begin = live_->pending.begin.load(std::memory_order_acquire);  // As above.
  return begin != 0 && lsn.value >= begin && lsn.value < live_->pending.end.load(std::memory_order_relaxed);
}

bool Uncommitted::settle_records(Lsn log_end) {
  // Acquire: pairs with the release in announce; the process that announced may be dead.
  const Lsn begin{live_->pending.begin.load(std::memory_order_acquire)};
  if (begin.value == 0) return false;
  const Lsn end{live_->pending.end.load(std::memory_order_relaxed)};
  // Relaxed: an earlier commit may still raise it, but not above `begin`; no other commits while this thread holds the
  // gate.
  const std::uint64_t flushed = live_->marks.flushed.load(std::memory_order_relaxed);
  if (begin.value < flushed || end <= begin || end.value - flushed > ring_.bytes() || begin.value % kRecordUnit != 0) {
    throw error_at(ErrorCode::corrupt, state_->path(),
                   "the transaction that the shared memory announces, from LSN {} to {}, is not in its ring",
                   begin.value, end.value);
  }
  const bool committed = log_end >= end;
  // Acquire: pairs with the producer's release of head. It is below the end if the producer died before it had accepted
  // all; then records of others may follow, which do not have the flag.
  const std::uint64_t head = live_->marks.head.load(std::memory_order_acquire);
  std::vector<std::byte> bytes;
  for (Lsn at = begin; at < std::min(end, Lsn{head});) {
    const RecordHeader header = ring_.stable_header(at);
    if (!header.well_formed() || header.bytes() > head - at.value) {
      throw error_at(ErrorCode::corrupt, state_->path(),
                     "the shared memory holds no record at LSN {}, where a transaction's was announced", at.value);
    }
    if ((header.flags() & kUncommitted) != 0) {
      bytes.resize(header.bytes());
      ring_.copy_stable(at, bytes);
      const auto record = decode_record(bytes);
      if (!record) throw damaged(at);
      const std::uint32_t kept = header.flags() & ~kUncommitted;
      ring_.put_first_word(
          at, first_word(*record, at, hash_of(*record, hash_seed_).digest(), committed ? kept : kept | kVoid));
      failpoint();
    }
    at.value += header.bytes();
  }
  return committed;
}

Error Uncommitted::damaged(Lsn lsn) const {
  return error_at(ErrorCode::corrupt, state_->path(), "the record at LSN {} in the shared memory is damaged",
                  lsn.value);
}

void Uncommitted::make_messages(std::span<std::byte> block, Lsn lsn) const {
  reflag(block, lsn, 0);
}

void Uncommitted::make_void(std::span<std::byte> block, Lsn lsn) const {
  reflag(block, lsn, kVoid);
}

void Uncommitted::reflag(std::span<std::byte> block, Lsn lsn, std::uint32_t instead) const {
  while (!block.empty()) {
    const auto record = decode_record(block);
    if (!record) throw damaged(lsn);
    if ((record->header.flags() & kUncommitted) != 0) {
      const std::uint32_t flags = (record->header.flags() & ~kUncommitted) | instead;
      const std::uint64_t word = first_word(*record, lsn, hash_of(*record, hash_seed_).digest(), flags);
      std::memcpy(block.data(), &word, sizeof word);
    }
    const std::size_t bytes = record->header.bytes();
    block = block.subspan(bytes);
    lsn.value += bytes;
  }
}

}  // namespace oncelog::internal
