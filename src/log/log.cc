#include "log/log.h"

#include <fmt/format.h>

#include <limits>

#include "base/error.h"
#include "log/record_codec.h"

namespace oncelog::internal {
namespace {

/// The block that an entry is. Error: corrupt, for an entry that is none: a block is never empty, so that each step
/// over one leads on, and lies within the stream.
Log::Block to_block(const lmdb::Env& env, const lmdb::Entry& entry) {
  const std::size_t bytes = entry.value.size();
  if (bytes == 0 || bytes % kRecordUnit != 0 || entry.key == 0 || entry.key % kRecordUnit != 0 ||
      entry.key > std::numeric_limits<std::uint64_t>::max() - bytes) {
    throw error_at(ErrorCode::corrupt, env.path(),
                   "the log has a block of {} bytes at LSN {}; salvage the rest with oncelog repair", bytes, entry.key);
  }
  return {{entry.key}, entry.value};
}

}  // namespace

std::optional<Lsn> Log::end(const lmdb::Txn& txn) const {
  const lmdb::Cursor cursor(txn, dbi_);
  const auto last = lmdb::seek(txn.env(), cursor.get(), MDB_LAST);
  if (!last) return std::nullopt;
  return to_block(txn.env(), *last).end();
}

std::optional<Lsn> Log::begin(const lmdb::Txn& txn) const {
  const lmdb::Cursor cursor(txn, dbi_);
  const auto first = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST);
  if (!first) return std::nullopt;
  return to_block(txn.env(), *first).lsn;
}

std::span<std::byte> Log::append(lmdb::WriteTxn& txn, Lsn at, std::size_t bytes) const {
  // MDB_APPEND alone would only refuse a key at or below the last block's first LSN.
  if (const auto last = end(txn); last && *last > at) {
    throw error_at(ErrorCode::corrupt, txn.env().path(), "the log ends at {} but is to be continued at {}", last->value,
                   at.value);
  }
  return txn.reserve(dbi_, lmdb::to_val(at.value), bytes, MDB_APPEND);
}

std::size_t Log::trim(lmdb::WriteTxn& txn, Lsn limit, std::size_t most, const std::function<bool()>& enough) const {
  const auto log_end = end(txn);
  lmdb::Cursor cursor(txn, dbi_);
  std::size_t deleted = 0;
  while (deleted < most && !enough()) {
    // MDB_FIRST again each time: after a deletion the cursor's position depends on the page it was on.
    const auto first = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST);
    if (!first) break;
    const Lsn block_end = to_block(txn.env(), *first).end();
    if (block_end > limit || block_end == log_end) break;
    cursor.del();
    ++deleted;
  }
  return deleted;
}

std::optional<lmdb::Bytes> Log::find(const lmdb::ReadTxn& txn, Lsn lsn) {
  auto entry = lmdb::seek(txn.env(), txn.cursor(), MDB_SET_RANGE, lsn.value);
  if (!entry || entry->key != lsn.value) {
    // The cursor stands after the block wanted, or behind the last one.
    entry = lmdb::seek(txn.env(), txn.cursor(), entry ? MDB_PREV : MDB_LAST);
    if (!entry || entry->key > lsn.value) return std::nullopt;
  }
  const std::uint64_t offset = lsn.value - entry->key;
  if (offset >= entry->value.size()) return std::nullopt;
  return entry->value.subspan(offset);
}

std::optional<Log::Block> Log::block_at(const lmdb::ReadTxn& txn, Lsn lsn) {
  const auto after = lmdb::seek(txn.env(), txn.cursor(), MDB_SET_RANGE, lsn.value);
  if (after && after->key == lsn.value) return to_block(txn.env(), *after);
  const auto before = lmdb::seek(txn.env(), txn.cursor(), after ? MDB_PREV : MDB_LAST);
  if (before && before->key <= lsn.value && lsn.value - before->key < before->value.size()) {
    return to_block(txn.env(), *before);
  }
  if (!after) return std::nullopt;
  return to_block(txn.env(), *after);
}

std::optional<Log::Block> Log::last_block_below(const lmdb::ReadTxn& txn, Lsn lsn) {
  const auto at_or_after = lmdb::seek(txn.env(), txn.cursor(), MDB_SET_RANGE, lsn.value);
  const auto below = lmdb::seek(txn.env(), txn.cursor(), at_or_after ? MDB_PREV : MDB_LAST);
  if (!below) return std::nullopt;
  return to_block(txn.env(), *below);
}

}  // namespace oncelog::internal
