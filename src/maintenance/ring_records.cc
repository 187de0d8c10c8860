#include "maintenance/ring_records.h"

#include <algorithm>
#include <array>

#include "log/intact_record.h"

namespace oncelog::internal {

Lsn RingRecords::each(Lsn from, const std::function<void(Lsn, std::span<const std::byte>)>& visit) const {
  // Acquire: pair with the releases of producers and flushers, which have all ended.
  const std::uint64_t head = header_.marks.head.load(std::memory_order_acquire);
  const std::uint64_t writing = header_.marks.writing.load(std::memory_order_acquire);
  const std::uint64_t lowest = writing > ring_.bytes() ? writing - ring_.bytes() : 0;
  // Relaxed: no other process uses it.
  std::uint64_t at = std::max({from.value, lowest, header_.believed_from.load(std::memory_order_relaxed)});
  std::vector<std::uint64_t> words;
  while (at + kRecordHeaderBytes <= head) {
    if (const std::size_t bytes = copy(at, head, words); bytes != 0) {
      visit(Lsn{at}, std::as_bytes(std::span(words)));
      at += bytes;
    } else {
      at += kRecordUnit;  // From the next whole record on the ends are known again.
    }
  }
  return Lsn{head};
}

std::size_t RingRecords::copy(std::uint64_t at, std::uint64_t head, std::vector<std::uint64_t>& words) const {
  std::array<std::uint64_t, round_to_unit(kRecordHeaderBytes) / kRecordUnit> first;
  if (at + sizeof first > head || !ring_.read(Lsn{at}, first)) return 0;
  const RecordHeader header = RecordHeader::load(reinterpret_cast<const std::byte*>(first.data()));
  if (!header.well_formed() || header.bytes() > head - at) return 0;
  words.resize(header.bytes() / kRecordUnit);
  if (!ring_.read(Lsn{at}, words)) return 0;
  const auto found = intact_record(std::as_bytes(std::span(words)), Lsn{at}, seed_);
  if (!found) return 0;
  const auto& [record, hash] = *found;
  if ((header.flags() & kUncommitted) != 0) {
    // Flushed and not settled: its transaction committed. Not flushed: it never did.
    const bool committed = at < header_.marks.flushed.load(std::memory_order_acquire);
    const std::uint32_t flags = (header.flags() & ~kUncommitted) | (committed ? 0U : static_cast<std::uint32_t>(kVoid));
    const std::uint32_t units_flags = (header.units_flags & ((1U << kUnitBits) - 1)) | flags << kUnitBits;
    words[0] = RecordHeader::first_word(record.checksum(units_flags, Lsn{at}, hash.digest()), units_flags);
  }
  return header.bytes();
}

}  // namespace oncelog::internal
