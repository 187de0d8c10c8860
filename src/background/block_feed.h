#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "log/log.h"

namespace oncelog::internal {

/// Hands the blocks of a part of the log out to the threads that read them, in order and some at a time, and has the
/// kernel fetch those that come next. One transaction and one cursor serve all threads: they see one commit, and take
/// one reader slot.
///
/// Thread safety: all of it. The bytes are valid until the transaction, which must be active, is parked.
class BlockFeed {
 public:
  /// What a thread reads before it asks for more: milliseconds of work.
  struct Chunk {
    std::uint64_t number = 0;  // They count from 0.
    std::vector<Log::Block> blocks;
  };

  /// The blocks that hold anything of [from, to).
  BlockFeed(const lmdb::ReadTxn& txn, Lsn from, Lsn to) : txn_(txn), at_(from), to_(to) {}

  /// False when there are no more.
  bool next(Chunk& chunk);
  /// From now on there are no more.
  void stop();

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
  static constexpr std::size_t kAheadBytes = std::size_t{16} << 20;

  void look_ahead();

  std::mutex mutex_;  // Of all that follows, and of the transaction's cursor.
  const lmdb::ReadTxn& txn_;
  Lsn at_;  // Where the first block begins that has not been looked for.
  Lsn to_;
  std::deque<Log::Block> ahead_;  // Found, and not handed out.
  std::size_t ahead_bytes_ = 0;
  std::uint64_t chunks_ = 0;
};

}  // namespace oncelog::internal
