#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include <oncelog/record.h>

#include "lmdb/handles.h"

namespace oncelog::internal {

/// The log's table in LMDB: LSN of a block's first byte -> block, a run of whole records. Blocks are appended and
/// deleted from the front, never changed; the last one is never deleted, so that LSNs continue after everything has
/// expired.
class Log {
 public:
  static constexpr unsigned kBlockPages = 16;
  static constexpr std::size_t kRunHeaderBytes = 16;

  /// Opens the table, creating it in a write transaction with MDB_CREATE in `flags`.
  Log(lmdb::Txn& txn, unsigned flags) : dbi_(txn.open_table("log", flags | MDB_INTEGERKEY)) {}

  MDB_dbi dbi() const { return dbi_; }

  /// The largest block: fills an overflow run of kBlockPages pages to the last byte.
  static std::size_t max_block_bytes(const lmdb::Env& env, unsigned pages = kBlockPages) {
    return pages * env.page_bytes() - kRunHeaderBytes;
  }

  /// Where the log ends: the LSN after its last byte; nothing when it has no block.
  std::optional<Lsn> end(const lmdb::Txn& txn) const;

  /// Where the log begins: its first block's LSN.
  std::optional<Lsn> begin(const lmdb::Txn& txn) const;

  /// Room for a block at `at`, at or above end(), to be filled at once. Throws Error::corrupt when `at` is below.
  std::span<std::byte> append(lmdb::WriteTxn& txn, Lsn at, std::size_t bytes) const;

  /// Deletes up to `most` blocks that end at or below `limit`, oldest first; returns how many.
  std::size_t trim(lmdb::WriteTxn& txn, Lsn limit, std::size_t most) const {
    return trim(txn, limit, most, [] { return false; });
  }
  /// The same, but stops when enough() returns true.
  std::size_t trim(lmdb::WriteTxn& txn, Lsn limit, std::size_t most, const std::function<bool()>& enough) const;

  std::uint64_t blocks(const lmdb::Txn& txn) const { return txn.stat(dbi_).ms_entries; }
  /// How many pages of data.mdb they take, the tree's own included.
  std::uint64_t pages(const lmdb::Txn& txn) const { return txn.pages(dbi_); }

  struct Block {
    Lsn lsn;
    lmdb::Bytes bytes;
    Lsn end() const { return {lsn.value + bytes.size()}; }
  };

  /// The bytes from `lsn` to the end of its block, valid until the transaction is parked; nothing when no block holds
  /// it. One descent of a B-tree of two or three levels.
  static std::optional<lmdb::Bytes> find(const lmdb::ReadTxn& txn, Lsn lsn);

  /// The block that holds `lsn`, or else the first one after it.
  static std::optional<Block> block_at(const lmdb::ReadTxn& txn, Lsn lsn);

  /// The last block that begins below `lsn`.
  static std::optional<Block> last_block_below(const lmdb::ReadTxn& txn, Lsn lsn);

 private:
  MDB_dbi dbi_;
};

}  // namespace oncelog::internal
