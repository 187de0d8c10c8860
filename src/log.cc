#include "log.h"

#include <fmt/format.h>

namespace oncelog::internal {

std::optional<Lsn> Log::end(const lmdb::Txn& txn) const {
  const lmdb::Cursor cursor(txn, dbi_);
  const auto last = lmdb::seek(txn.env(), cursor.get(), MDB_LAST);
  if (!last) return std::nullopt;
  return Lsn{last->key + last->value.size()};
}

std::optional<Lsn> Log::begin(const lmdb::Txn& txn) const {
  const lmdb::Cursor cursor(txn, dbi_);
  const auto first = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST);
  if (!first) return std::nullopt;
  return Lsn{first->key};
}

std::span<std::byte> Log::append(lmdb::WriteTxn& txn, Lsn at, std::size_t bytes) const {
  // MDB_APPEND alone would only refuse a key at or below the last block's first LSN.
  if (const auto last = end(txn); last && *last > at) {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: the log ends at {} but is to be continued at {}", txn.env().path().string(),
                            last->value, at.value),
                txn.env().path());
  }
  return txn.reserve(dbi_, lmdb::to_val(at.value), bytes, MDB_APPEND);
}

std::size_t Log::trim(lmdb::WriteTxn& txn, Lsn limit, std::size_t most) const {
  const auto log_end = end(txn);
  lmdb::Cursor cursor(txn, dbi_);
  std::size_t deleted = 0;
  while (deleted < most) {
    // MDB_FIRST again each time: after a deletion the cursor's position depends on the page it was on.
    const auto first = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST);
    if (!first) break;
    const Lsn block_end{first->key + first->value.size()};
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
  if (after && after->key == lsn.value) return Block{lsn, after->value};
  const auto before = lmdb::seek(txn.env(), txn.cursor(), after ? MDB_PREV : MDB_LAST);
  if (before && before->key <= lsn.value && lsn.value - before->key < before->value.size()) {
    return Block{{before->key}, before->value};
  }
  if (!after) return std::nullopt;
  return Block{{after->key}, after->value};
}

std::optional<Log::Block> Log::last_block_below(const lmdb::ReadTxn& txn, Lsn lsn) {
  const auto at_or_after = lmdb::seek(txn.env(), txn.cursor(), MDB_SET_RANGE, lsn.value);
  const auto below = lmdb::seek(txn.env(), txn.cursor(), at_or_after ? MDB_PREV : MDB_LAST);
  if (!below) return std::nullopt;
  return Block{{below->key}, below->value};
}

}  // namespace oncelog::internal
