#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "background/hint_copies.h"
#include "log/log.h"

namespace oncelog::internal {

/// Records of the log in the order in which they are added to one table or one filter: that of the places where they
/// go. Added like that, they go through a large file once from its beginning to its end. In the order of the log each
/// of them would go to a page of its own, and miss the TLB there.
struct HintRun {
  enum class Into : std::uint8_t { table, filter };

  Into into;
  std::vector<CopiedRecord> records;
};

/// What a stretch of the log adds to a table and to a filter. A value: it refers to nothing in the log.
struct SortedHints {
  Lsn end;      // Of the stretch.
  Lsn damaged;  // The first damaged record of it; 0 when there is none. What comes after is not here.
  std::vector<HintRun> runs;
  std::vector<CopiedLink> links;   // For the filter: of each record.
  std::vector<CopiedLink> chains;  // For the table: those that follow each other are joined.
};

/// Where the records are read, and how many at a time.
struct HintSource {
  const lmdb::ReadTxn& txn;  // Active, and used by nobody else meanwhile.
  std::uint64_t hash_seed;   // The store's.
  CopyRange range;           // What is before its `begin` is not looked at.
  std::uint64_t most_bytes;
  std::chrono::steady_clock::duration most_time;
  bool for_table;
  bool for_filter;
};

/// Joins links that follow each other. Added a second time they find the newest one's entry, where each by itself would
/// begin the chain again.
std::vector<CopiedLink> joined(std::vector<CopiedLink> links);

/// Reads and hashes the first records of the range, by several threads, which need none of the store's locks: at least
/// one block of them if there is one, and no more than `most_bytes` and what is read in `most_time`, each rounded up by
/// a MiB a thread. Takes 50 bytes of memory a record, 75 while it sorts.
SortedHints read_sorted(const HintSource& source, unsigned threads);

}  // namespace oncelog::internal
