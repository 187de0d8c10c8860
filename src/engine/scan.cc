#include <fmt/format.h>

#include <array>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"
#include "lmdb/scope_names.h"

namespace oncelog::internal {

void Engine::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) {
  check_usable();
  SharedHeader& live = live_->header();
  const Ring ring = live_->ring();
  Reader& mine = reader();
  lmdb::ReadTxn& txn = mine.txn();
  ScopeNames names(txn, *catalog_);
  const auto visit_all = [&](lmdb::Bytes bytes, Lsn lsn, Lsn from) {
    while (!bytes.empty()) {
      const auto record = decode_record(bytes);
      const MessageHash hash = record ? MessageHash(scope_seed(record->header.scope), record->id) : MessageHash();
      if (!record || !record->all_intact(lsn, hash.digest())) {
        throw error_at(ErrorCode::corrupt, directory_, "the record at LSN {} is damaged", lsn.value);
      }
      const Time at = Time{std::chrono::microseconds{record->header.time_us()}};
      const bool wanted = exists(mine, record->header.flags(), lsn) && lsn >= from &&
                          within_retention(record->header.time_us()) && (!range.since || at >= *range.since) &&
                          (!range.until || at < *range.until);
      if (wanted) {
        const std::string& scope = names.of(record->header.scope);
        if (!range.scope || *range.scope == scope) {
          Record visited = to_record(*record, lsn);
          visited.scope = scope;
          if (!visitor(visited)) return false;
        }
      }
      bytes = bytes.subspan(record->header.bytes());
      lsn.value += record->header.bytes();
    }
    return true;
  };

  // Acquire: pairs with the release in append. The head before the layout, as in Flusher::commit.
  const Lsn end{live.marks.head.load(std::memory_order_acquire)};
  std::uint64_t epoch = 0;
  Lsn at = oldest_lsn(live.layout.read(epoch), end);
  std::vector<std::byte> copy;
  std::vector<std::uint64_t> words;
  while (at < end) {
    if (at < durable()) {
      // One block at a time is copied out, so that the visitor's time pins no pages.
      Lsn block_lsn;
      {
        const lmdb::ReadTxn::Active active(txn);
        const auto block = Log::block_at(txn, at);
        if (!block) return;  // Everything up to durable() was deleted as expired.
        block_lsn = block->lsn;
        copy.assign(block->bytes.begin(), block->bytes.end());
      }
      if (!visit_all(copy, block_lsn, at)) return;
      at = Lsn{block_lsn.value + copy.size()};
      continue;
    }
    // Not flushed yet: copied out of the ring record by record, unless the flusher and a producer pass by.
    std::array<std::uint64_t, 3> head_words;
    static_assert(sizeof head_words >= kRecordHeaderBytes);
    if (!ring.read(at, head_words)) continue;
    const RecordHeader header = RecordHeader::load(reinterpret_cast<const std::byte*>(head_words.data()));
    if (!header.well_formed()) {
      throw error_at(ErrorCode::corrupt, directory_, "the shared memory holds no record at LSN {}", at.value);
    }
    words.resize(header.bytes() / kRecordUnit);
    if (!ring.read(at, words)) continue;
    if (!visit_all(std::as_bytes(std::span(words)), at, at)) return;
    at.value += header.bytes();
  }
}

}  // namespace oncelog::internal
