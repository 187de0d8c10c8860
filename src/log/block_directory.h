#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include <oncelog/record.h>

#include "base/mutex.h"
#include "lmdb/handles.h"

namespace oncelog::internal {

/// The blocks of the log in the order of their LSNs, and where each lies in this process's map of data.mdb. Only ever
/// appended to.
///
/// It answers as a descent of LMDB's tree does: with the last block that begins at or before an LSN. It can, because
/// blocks are only appended to the log and deleted from its front: LMDB writes one once, to pages of its own, and
/// leaves it there until it is deleted. So what was seen in any snapshot of this map is right in every later one in
/// which the log begins at or before it. Blocks so small that LMDB keeps them among others on a page move when that
/// page is copied, and have no entry: no other block reaches into them, so that the tree is asked.
///
/// Thread safety: append by one thread at a time; any number of readers meanwhile, without a lock.
class BlockTable {
 public:
  /// For the map of this number (Env::mapping()); `room` blocks at most. Throws std::bad_alloc.
  BlockTable(std::uint64_t mapping, std::size_t room);

  std::uint64_t mapping() const { return mapping_; }
  // Acquire: pairs with the release in append.
  std::size_t count() const { return count_.load(std::memory_order_acquire); }
  bool full() const { return count() == room_; }
  /// The LSN of the last block that was appended; 0 when there is none. Acquire: pairs with the release in append.
  Lsn last() const { return {last_.load(std::memory_order_acquire)}; }

  /// Bytes of a block.
  struct Place {
    Lsn block;
    lmdb::Bytes bytes;  // From the asked LSN to the block's end.
  };
  /// In the last block that begins at or before `lsn`; nothing when that is not known to hold it. Below the last
  /// block's LSN this is what the tree says; from there on only where the log has no further block.
  std::optional<Place> find(Lsn lsn) const {
    const Block* const block = floor(lsn);
    if (block == nullptr) return std::nullopt;
    const std::uint64_t offset = lsn.value - block->lsn.value;
    if (offset >= block->bytes.size()) return std::nullopt;
    return Place{block->lsn, block->bytes.subspan(offset)};
  }

  /// The next block, with no bytes where they may move: of that only the LSN is kept, as last(). False, and nothing is
  /// done, when it does not come after the last one. There is room.
  bool append(Lsn lsn, lmdb::Bytes bytes);
  /// Appends the blocks of `other` from the one at `begin` on. There is room.
  void append_from(const BlockTable& other, Lsn begin);
  /// How many blocks there are from the one at `begin` on.
  std::size_t count_from(Lsn begin) const;

 private:
  struct Block {
    Lsn lsn;
    lmdb::Bytes bytes;
  };

  /// A piece of the stream as long as a full block: in nearly each of them one begins.
  static constexpr unsigned kPieceBits = 16;
  static std::uint64_t piece_of(Lsn lsn) { return lsn.value >> kPieceBits; }
  std::atomic<std::uint32_t>& first_in(std::uint64_t piece) const { return first_in_[piece & pieces_mask_]; }

  /// The last block that begins at or before `lsn`; null when there is none. Two or three cache lines where a block
  /// begins in the piece that `lsn` is in.
  const Block* floor(Lsn lsn) const {
    const std::size_t count = this->count();
    // Relaxed: it is checked, and the blocks below `count` are seen.
    const std::size_t first = first_in(piece_of(lsn)).load(std::memory_order_relaxed);
    if (first >= count || piece_of(blocks_[first].lsn) != piece_of(lsn)) return search(lsn, count);
    if (blocks_[first].lsn > lsn) return first == 0 ? nullptr : &blocks_[first - 1];
    std::size_t at = first;
    while (at + 1 < count && blocks_[at + 1].lsn <= lsn) ++at;
    return &blocks_[at];
  }
  const Block* search(Lsn lsn, std::size_t count) const;

  const std::uint64_t mapping_;
  const std::size_t room_;
  const std::uint64_t pieces_mask_;
  // Written before `count_` makes them known, never changed afterwards.
  std::unique_ptr<Block[]> blocks_;
  // The first block that begins in a piece; what says so of another piece in the same place is of no use.
  std::unique_ptr<std::atomic<std::uint32_t>[]> first_in_;
  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> last_{0};  // Written after count_.
};

/// The newest table of this process, extended by those who look for what it lacks, some blocks at a time, so that
/// nobody waits for all of a large log. Threads hold the table they use, as they hold a View: one that has become too
/// small or is of an earlier map goes with the last of them. 32 bytes a block, twice as many while it is half full.
///
/// A log of small blocks, as a store of few marks a second has, is left to the tree: it would be read whole for
/// nothing.
///
/// Thread safety: all of it. Nobody waits: where another thread extends it, the caller uses LMDB's tree.
class BlockDirectory {
 public:
  /// Extends the newest table by up to kStep blocks of the transaction's snapshot, in which the log begins at `begin`,
  /// and gives the caller that table, where there is one of the present map. Returns whether it has all blocks of that
  /// snapshot. Errors are LMDB's, of a page that is damaged: then nothing is ever added again.
  bool extend(const lmdb::ReadTxn& txn, Lsn begin, std::shared_ptr<const BlockTable>& held);

  /// Whether nothing is added any more because all that was last seen were small blocks. Relaxed: a hint.
  bool leaves_it_to_the_tree() const { return small_.load(std::memory_order_relaxed); }

 private:
  /// So few that the look-up that adds them does not wait long.
  static constexpr std::size_t kStep = 256;
  static constexpr std::size_t kLeastRoom = 128;

  bool add_blocks(const lmdb::ReadTxn& txn, Lsn begin) REQUIRES(mutex_);
  void make_room(std::uint64_t mapping, Lsn begin) REQUIRES(mutex_);

  Mutex mutex_;
  std::shared_ptr<BlockTable> newest_ GUARDED_BY(mutex_);
  bool damaged_ GUARDED_BY(mutex_) = false;
  std::atomic<bool> small_{false};
};

}  // namespace oncelog::internal
