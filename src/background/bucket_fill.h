#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <vector>

#include "background/block_feed.h"
#include "background/in_order.h"
#include "base/message_hash.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "window/filter_column.h"
#include "window/index_slots.h"
#include "window/window_filter.h"

namespace oncelog::internal {

/// Where the filter's bits of one bucket are set: in its lane of a generation, or in a column by itself.
struct LaneBits {
  FilterGeneration* generation;
  unsigned lane;
  const FilterColumn* column = nullptr;  // Where there is one, it is filled.

  void prefetch(const MessageHash& hash) const {
    if (column != nullptr) return column->prefetch(hash);
    generation->prefetch(hash);
  }
  void add(const MessageHash& hash) const {
    if (column != nullptr) return column->add(hash);
    generation->set(hash, lane);
  }
};

/// Adds a bucket's records from the log to an index table and to the filter, by several threads. The result is the same
/// for any number of them: entries of messages are added in any order, those of a chain of records in the log's.
class BucketFill {
 public:
  struct Source {
    const lmdb::ReadTxn& txn;
    const std::filesystem::path& directory;  // The store's, for errors.
    std::uint64_t hash_seed;                 // The store's.
    Lsn from;                                // The records in [from, to).
    Lsn to;
  };
  struct Target {
    Lsn first_lsn;  // The bucket's, from which the table's entries count.
    IndexSlots slots;
    std::uint64_t room;  // For so many entries.
    LaneBits bits;
  };
  /// What the records have, or what they need when that is more than there is room for.
  struct Needed {
    std::uint64_t entries = 0;
    std::uint64_t records = 0;
    std::uint64_t ids = 0;  // In the filter.
    std::int64_t newest_us = 0;
  };

  BucketFill(const Source& source, const Target& target);

  /// Throws Error::corrupt at a damaged record; of several, it names the first in the log.
  void run(unsigned threads);

  /// False when there was not room for all: then what was filled is of no use.
  bool fits() const { return !overflows_; }
  const Needed& needed() const { return needed_; }

 private:
  friend class FillWorker;

  void work();
  bool reserve(std::uint64_t entries);
  void note_damage(Lsn lsn);

  const Source source_;
  const Target target_;
  const std::uint64_t correlation_seed_;
  BlockFeed feed_;
  InOrder order_;
  std::atomic<std::uint64_t> entries_{
      0};  // Relaxed, as the next: counted by all threads, and read when they are joined.
  std::atomic<bool> overflows_{false};
  std::mutex mutex_;  // Of the following.
  Needed needed_;
  Lsn damaged_;  // 0: none.
};

}  // namespace oncelog::internal
