#include "log/ring_salvage.h"

#include <algorithm>
#include <string>

#include "base/message_hash.h"
#include "log/intact_record.h"

namespace oncelog::internal {

std::optional<RecordView> RingSalvage::record_at(Lsn at, Lsn limit) {
  const RecordHeader header = ring_.stable_header(at);
  if (at >= limit || !header.well_formed() || header.bytes() > limit.value - at.value) return std::nullopt;
  // What a large record begins with is checked first: bytes that only look like a header are many where results are
  // numbers, and for each of them a MiB would be copied.
  bytes_.resize(std::min(header.bytes(), kMaxRecordFixedBytes));
  ring_.copy_stable(at, bytes_);
  if (bytes_.size() != header.bytes()) {
    const auto begin = decode_record(bytes_, RecordPart::id);
    if (!begin || !begin->intact(at, hash_of(*begin, hash_seed_).digest())) return std::nullopt;
    bytes_.resize(header.bytes());
    ring_.copy_stable(at, bytes_);
  }
  const auto found = intact_record(bytes_, at, hash_seed_);
  return found ? std::optional(found->first) : std::nullopt;
}

Lsn RingSalvage::whole_until(Lsn from, Lsn limit) {
  while (const auto record = record_at(from, limit)) from.value += record->header.bytes();
  return from;
}

std::optional<Lsn> RingSalvage::next_whole(Lsn from, Lsn limit) {
  for (; from < limit; from.value += kRecordUnit) {
    if (record_at(from, limit)) return from;
  }
  return std::nullopt;
}

bool RingSalvage::make_void(Lsn from, Lsn to, const RecordHeader& next) {
  constexpr std::size_t kSmallest = record_bytes(1);
  const std::string id(kMaxIdBytes, '\0');
  const std::uint64_t scope_seed = MessageHash::scope_seed(hash_seed_, next.scope);
  for (std::uint64_t left = to.value - from.value; left != 0; left = to.value - from.value) {
    if (left < kSmallest) return false;
    std::size_t bytes = std::min<std::uint64_t>(left, kMaxPlainRecordBytes);
    if (left != bytes && left - bytes < kSmallest) bytes -= kSmallest;  // What is left must hold another one.
    RecordBuffer buffer;
    RecordDraft draft;
    draft.scope = next.scope;
    draft.id = std::string_view(id).substr(0, bytes - kRecordHeaderBytes);
    draft.digest = MessageHash(scope_seed, draft.id).digest();
    draft.flags = kVoid;
    ring_.write(from, encode_record(buffer, draft, from, next.time_us()));
    from.value += bytes;
  }
  return true;
}

}  // namespace oncelog::internal
