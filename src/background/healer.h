#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "background/growth.h"
#include "background/hint_copies.h"
#include "base/store_locks.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "shared/shared_state.h"
#include "shared/view.h"

namespace oncelog::internal {

/// Leaves each bucket one index table, and the store one filter generation, although buckets outgrew their plans:
/// copies the hints of older ones into a newer one that has room for all, and drops the older ones. What is copied
/// comes from the log, where the records are in order.
///
/// What is built (Layout::building_slots, building_lines) is nobody else's: it is filled under the writer gate alone.
/// Once it has all that the log has, it becomes the newest, and what was accepted meanwhile follows as soon as it is in
/// the log: that is copied in short holds of the store's mutex, because producers write to the same words. Readers look
/// into the older ones until the newest has everything, so they never miss a record.
///
/// How far it has come is noted in the file itself (IndexTable::copied), after the hints. So any process continues
/// after a death: what was copied and not noted is copied again, which changes nothing. A layout changes by one store,
/// so a death on either side of it leaves a whole one; files that it no longer names are strays, which the next round
/// of upkeep deletes.
///
/// Thread safety: step() is for the holder of the writer gate, all else for any thread.
class Healer {
 public:
  Healer(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& state, ViewCache& views);

  /// Whether step() has something to do at `now_us`, a boot time. Some loads.
  bool due(const View& view, std::int64_t now_us) const {
    return view.built_is_lost || next_work(view).any() || deserted_at(view, now_us);
  }
  /// Copies some kRecordsAStep records or kBytesAStep bytes, about a millisecond's work, or publishes what is complete.
  /// Returns whether there is more to do now. Throws Error::corrupt once at a damaged record: then its bucket keeps its
  /// tables, and the store its generations, as long as this process has it open.
  bool step(std::int64_t now_us) REQUIRES(kWriterGate) EXCLUDES(kStoreMutex);

  /// Whether what is built has space still to be allocated, before anything is copied.
  bool table_unallocated(const View& view) const;
  bool generation_unallocated(const View& view) const;
  /// Allocates a piece of it; returns whether there was one. Where there is no room it is given up.
  bool allocate_table(const View& view) REQUIRES(kWriterGate) EXCLUDES(kStoreMutex);
  bool allocate_generation(const View& view) REQUIRES(kWriterGate) EXCLUDES(kStoreMutex);

  /// Whether this bucket has such a record.
  bool refuses(std::uint64_t bucket) const;
  /// Whether any bucket of this view has.
  bool refuses_filter(const View& view) const;
  /// The last table that had no room for what was to be copied into it.
  TooSmall too_small() const;

 private:
  static constexpr std::size_t kRecordsAStep = 4096;
  static constexpr std::uint64_t kBytesAStep = std::uint64_t{512} << 10;
  static constexpr std::size_t kBatch = 256;  // In one hold of the mutex: some 20 microseconds.

  /// What can be done now. Both read the log together, as far as their records are the same.
  struct Work {
    std::optional<TableCopy> table;
    std::optional<FilterCopy> filter;

    bool any() const { return table || filter; }
    bool building() const { return (!table || table->building) && (!filter || filter->building); }
  };

  /// How far what is built has come.
  struct Progress {
    std::uint64_t bucket = 0;
    std::uint64_t table = 0;
    std::uint64_t generation = 0;
    std::uint64_t allocated = 0;
    Lsn table_copied;
    Lsn filter_copied;

    bool operator==(const Progress&) const = default;
  };
  static constexpr std::int64_t kDesertedUs = 10'000'000;

  bool refuses_table(const View& view) const { return view.built_table && refuses(view.layout.building_bucket); }
  bool refuses_generation(const View& view) const { return view.built_generation && refuses_filter(view); }
  bool deserted_at(const View& view, std::int64_t now_us) const;
  void watch_deserted(const View& view, std::int64_t now_us) REQUIRES(kWriterGate);
  void give_up(bool table, bool generation) REQUIRES(kWriterGate);
  Work next_work(const View& view) const;
  std::optional<TableCopy> next_table(const View& view, Lsn flushed) const;
  std::optional<FilterCopy> next_filter(const View& view, Lsn flushed) const;
  bool publish(const Work& work) REQUIRES(kWriterGate);
  bool adopt_lanes(const View& view, const Work& work) REQUIRES(kWriterGate);
  void copy(const View& view, const Work& work) REQUIRES(kWriterGate);
  bool copy_block(const View& view, const Work& work, const Log::Block& block, const CopyRange& range)
      REQUIRES(kWriterGate);
  void add_to_batch(const Work& work, const RecordView& record, const MessageHash& hash, Lsn lsn) REQUIRES(kWriterGate);
  bool copy_batch(const View& view, const Work& work) REQUIRES(kWriterGate);
  static void note_copied(const Work& work, Lsn end);
  bool add_batch(const View& view, const Work& work) REQUIRES(kWriterGate);
  void note_too_small(const Work& work) REQUIRES(kWriterGate);
  void refuse(const Layout& layout, Lsn lsn) REQUIRES(kWriterGate);

  const lmdb::Env& env_;
  const Log& log_;
  const std::uint64_t hash_seed_;
  const std::uint64_t correlation_seed_;
  const SharedState& state_;
  SharedHeader& live_;
  ViewCache& views_;

  std::optional<lmdb::ReadTxn> txn_ GUARDED_BY(kWriterGate);  // Kept: see ReadTxn on what making one takes.
  std::vector<CopiedRecord> batch_ GUARDED_BY(kWriterGate);
  Lsn batch_end_ GUARDED_BY(kWriterGate);
  std::size_t copied_ GUARDED_BY(kWriterGate) = 0;  // Records, in this step.
  mutable std::mutex refused_mutex_;
  std::set<std::uint64_t> refused_;  // Buckets with a damaged record.
  TooSmall too_small_;
  Progress seen_ GUARDED_BY(kWriterGate);
  std::atomic<std::int64_t> look_from_us_{0};  // A boot time. Relaxed: only when something is looked at again.
};

}  // namespace oncelog::internal
