#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include <oncelog/record.h>

#include "lmdb/handles.h"
#include "log/block_directory.h"
#include "log/log.h"

namespace oncelog::internal {

/// Finds records in the log by their LSNs, for one thread: a parked read transaction, and the directory's table of
/// blocks, which spares most look-ups the descent of LMDB's tree.
class LogLookup {
 public:
  LogLookup(const lmdb::Env& env, const Log& log, BlockDirectory& directory)
      : directory_(directory), txn_(env, log.dbi()) {}

  /// For other reads of the same thread, while there is no Snapshot.
  lmdb::ReadTxn& txn() { return txn_; }

  /// Where a record probably lies: good for a prefetch, and for Snapshot::find.
  struct Guess {
    std::optional<BlockTable::Place> place;
    std::uint64_t turn;
  };
  /// Without a snapshot; reads nothing of data.mdb.
  Guess guess(Lsn lsn) const { return {blocks_ ? blocks_->find(lsn) : std::nullopt, turn_}; }

  /// The newest commit. What is found stays where it is for as long as this lives. One at a time.
  class Snapshot {
   public:
    explicit Snapshot(LogLookup& lookup) : lookup_(lookup), active_(lookup.txn_) {
      if (!lookup.knows_snapshot()) [[unlikely]]
        lookup.catch_up(active_);
    }

    /// The bytes from `lsn` to the end of its block; nothing when no block holds it.
    std::optional<lmdb::Bytes> find(Lsn lsn) { return find(lsn, lookup_.guess(lsn)); }
    std::optional<lmdb::Bytes> find(Lsn lsn, const Guess& guess) {
      if (guess.place && lookup_.stands(lsn, guess)) [[likely]]
        return guess.place->bytes;
      return lookup_.find_in_tree(lsn);
    }

   private:
    LogLookup& lookup_;
    lmdb::ReadTxn::Active active_;
  };

 private:
  static constexpr Lsn kEndless{~std::uint64_t{0}};

  bool knows_snapshot() const {
    if (commit_ != mdb_txn_id(txn_.get()) || behind_) return false;
    return blocks_ ? blocks_->mapping() == txn_.env().mapping() : directory_.leaves_it_to_the_tree();
  }
  bool stands(Lsn lsn, const Guess& guess) const {
    return guess.place->block >= begin_ && lsn < end_ && guess.turn == turn_;
  }
  void catch_up(lmdb::ReadTxn::Active& active);
  std::optional<lmdb::Bytes> find_in_tree(Lsn lsn);

  BlockDirectory& directory_;
  lmdb::ReadTxn txn_;
  std::shared_ptr<const BlockTable> blocks_;
  std::uint64_t commit_ = 0;  // The snapshot that was caught up with last. For it the table answers
  Lsn begin_;                 // from the block where the log begins,
  Lsn end_;                   // to the last block that the table has, or to the end when it has all.
  std::uint64_t turn_ = 0;    // Counts that: a guess of an earlier turn may be of another map.
  bool behind_ = false;       // A record was looked for at or above `end_`.
};

}  // namespace oncelog::internal
