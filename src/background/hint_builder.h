#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "background/bucket_fill.h"
#include "background/column_writer.h"
#include "log/log.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Fills the index tables and the filter of new shared memory, which no other process sees yet, from the log, one
/// bucket after the other and each by several threads. A bucket with more records than its row says gets a larger
/// table, and if need be another generation.
///
/// Memory: what is filled lies in plain memory first, since random writes to a mapped file cost a page fault each, and
/// is then written to its file in order. That is the table of one bucket, and a sixteenth of the filter for each
/// bucket; where there is no such memory, or few records in a large table, the mapped files are filled instead.
class HintBuilder {
 public:
  /// For each bucket of the layout, the LSN from which on its records are read. Its table and the newest generation
  /// have the hints of those before. 0, as of a bucket that has none yet: from the bucket's first one on.
  using ReadFrom = std::array<Lsn, kMaxLiveBuckets>;

  /// `layout` is in force, its files are made, and have no more than ReadFrom says. What is added is published. At most
  /// `threads` threads work.
  HintBuilder(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& live, ViewCache& files,
              Layout& layout, unsigned threads);

  /// Adds the records of all buckets in the layout, and notes the newest record's time. The log must have a block.
  /// Throws Error::corrupt at a damaged record, and full if a bucket has more records than an index can hold.
  void run(const ReadFrom& from = {});

 private:
  /// A part of the log that one bucket has.
  struct Part {
    unsigned bucket;
    Lsn from;
    Lsn to;
    bool kept;  // Its table has the hints of the records before.

    std::uint64_t bytes() const { return to.value - from.value; }
  };

  struct Outcome {
    BucketFill::Needed needed;
    bool table_fits;
    bool filter_fits;

    bool fits() const { return table_fits && filter_fits; }
  };

  void build(const lmdb::ReadTxn& txn, const Part& part);
  Outcome fill(const lmdb::ReadTxn& txn, const Part& part);
  bool may_make_generation(const Part& part) const;
  void make_table(const Part& part, std::uint64_t entries);
  void make_generation(const Part& part, std::uint64_t ids);
  void write_table(const BucketInfo& bucket, std::span<const std::byte> slots) const;
  void write_columns();
  void note_newest_time(const lmdb::ReadTxn& txn);
  unsigned threads_for(std::uint64_t bytes) const;

  const lmdb::Env& env_;
  const Log& log_;
  const std::uint64_t hash_seed_;
  SharedHeader& live_;
  ViewCache& files_;
  Layout& layout_;
  const unsigned threads_;
  std::shared_ptr<const View> view_;
  std::optional<ColumnWriter> columns_;  // Of the newest generation.
  bool filter_has_bits_ = false;         // Its file does.
  unsigned last_kept_ = 0;               // The last bucket that has hints already, if there is one.
  std::int64_t newest_us_ = 0;
};

}  // namespace oncelog::internal
