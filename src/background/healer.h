#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>

#include "background/growth.h"
#include "background/hint_copies.h"
#include "background/reading_turn.h"
#include "background/sorted_hints.h"
#include "base/store_locks.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "shared/shared_state.h"
#include "shared/view.h"

namespace oncelog::internal {

/// Leaves each bucket one index table, and the store one filter generation, although buckets outgrew their plans:
/// copies the hints of older ones into a newer one that has room for all, and drops the older ones. What is copied
/// comes from the log, where the records are in order.
///
/// A stretch of the log at a time is read, hashed and sorted (see SortedHints) without a lock: some MiB by one thread
/// while marks come, more by several once they have stopped. Then it is added, some of it in each step.
///
/// What is built (Layout::building_slots, building_lines) is nobody else's: it is filled under the writer gate alone.
/// Once it has all that the log has, it becomes the newest, and what was accepted meanwhile follows as soon as it is in
/// the log: that is copied in short holds of the store's mutex, because producers write to the same words. Readers look
/// into the older ones until the newest has everything, so they never miss a record.
///
/// How far it has come is noted in the file itself (IndexTable::copied), after the hints of each stretch. So any
/// process continues after a death: what was copied and not noted is copied again, which changes nothing. A layout
/// changes by one store, so a death on either side of it leaves a whole one; files that it no longer names are strays,
/// which the next round of upkeep deletes.
///
/// Thread safety: read_ahead() and step() are for the background, which calls one at a time; all else for any thread.
class Healer {
 public:
  /// At most `threads` threads read.
  Healer(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& state, ViewCache& views,
         unsigned threads);

  /// Whether step() has something to do at `now_us`, a boot time. Some loads.
  bool due(const View& view, std::int64_t now_us) const;
  /// Reads what the next steps add, unless they still have something. Returns whether it did. Some milliseconds; when
  /// marks have stopped kStillTime at most, which delays the background's next commit.
  bool read_ahead(std::int64_t now_us) EXCLUDES(kWriterGate, kStoreMutex);
  /// Frees what was read and is not needed any more, which may unmap a file.
  void let_go() EXCLUDES(kWriterGate, kStoreMutex) { ahead_.reset(); }
  /// Adds for a millisecond what was read, or publishes what is complete. Returns whether there is more to do now,
  /// which may have to be read first. Throws Error::corrupt once at a damaged record: then its bucket keeps its tables,
  /// and the store its generations, as long as this process has it open.
  bool step(std::int64_t now_us) REQUIRES(kWriterGate) EXCLUDES(kStoreMutex);

  /// Whether what is built has space still to be allocated, before anything is copied.
  bool table_unallocated(const View& view) const;
  bool generation_unallocated(const View& view) const;
  /// Allocates a piece of it; returns whether there was one. Where there is no room it is given up.
  bool allocate_table(const View& view, ViewCache::Pages pages = ViewCache::Pages::mapped) REQUIRES(kWriterGate)
      EXCLUDES(kStoreMutex);
  bool allocate_generation(const View& view) REQUIRES(kWriterGate) EXCLUDES(kStoreMutex);

  /// Whether this bucket has such a record.
  bool refuses(std::uint64_t bucket) const;
  /// Whether any bucket of this view has.
  bool refuses_filter(const View& view) const;
  /// The last table that had no room for what was to be copied into it.
  TooSmall too_small() const;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr Clock::duration kStepTime = std::chrono::milliseconds{1};
  static constexpr std::size_t kBatch = 512;  // In one hold of the mutex: some 20 microseconds.
  static constexpr std::size_t kAhead = 16;   // Their cache misses overlap.
  // What is read at a time. More of it lies closer together in a table, but the background flushes between.
  static constexpr std::uint64_t kBytes = std::uint64_t{2} << 20;
  static constexpr Clock::duration kTime = std::chrono::milliseconds{5};
  // Once hardly anything has been accepted for a while.
  static constexpr std::uint64_t kStillBytes = std::uint64_t{4} << 10;
  static constexpr std::int64_t kStillUs = 20'000;
  static constexpr std::uint64_t kBytesOfStill = std::uint64_t{32} << 20;
  static constexpr Clock::duration kStillTime = std::chrono::milliseconds{25};
  static constexpr std::uint64_t kLeastBytesAThread = std::uint64_t{4} << 20;
  static constexpr unsigned kMostReaders = 4;  // One thread adds what they read.

  /// What can be done now. Both read the log together, as far as their records are the same.
  struct Work {
    std::optional<TableCopy> table;
    std::optional<FilterCopy> filter;

    bool any() const { return table || filter; }
    bool left() const { return (table && table->range.left()) || (filter && filter->range.left()); }
    const CopyRange& range() const { return table ? table->range : filter->range; }
    bool continues(const Work& former) const;
  };

  /// What was read for some work, and how much of it has been added.
  struct Ahead {
    Work work;
    SortedHints hints;
    std::size_t run = 0;
    std::size_t record = 0;  // In that run.
    std::size_t link = 0;
    std::size_t chain = 0;
    bool added = false;  // All of it.
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
  Lsn flushed() const;
  Work next_work(const View& view, Lsn flushed) const;
  std::optional<TableCopy> next_table(const View& view, Lsn flushed) const;
  std::optional<FilterCopy> next_filter(const View& view, Lsn flushed) const;
  bool publish(const Work& work) REQUIRES(kWriterGate);
  bool adopt_lanes(const View& view, const Work& work) REQUIRES(kWriterGate);
  bool is_still(std::int64_t now_us);
  void add_some(const View& view) REQUIRES(kWriterGate);
  bool add_records(const View& view, Clock::time_point until) REQUIRES(kWriterGate);
  bool add_links(const View& view, Clock::time_point until) REQUIRES(kWriterGate);
  bool add_chains(const View& view, Clock::time_point until) REQUIRES(kWriterGate);
  template <typename Add>
  bool add_all(const View& view, Clock::time_point until, bool in_use, std::size_t count, std::size_t& at, Add add)
      REQUIRES(kWriterGate);
  template <typename Add>
  bool add_batch(const View& view, bool in_use, Add add) REQUIRES(kWriterGate);
  void note_copied() REQUIRES(kWriterGate);
  void note_too_small(const Work& work) REQUIRES(kWriterGate);
  void refuse(const Layout& layout, Lsn lsn) REQUIRES(kWriterGate);

  const lmdb::Env& env_;
  const Log& log_;
  const std::uint64_t hash_seed_;
  const SharedState& state_;
  SharedHeader& live_;
  ViewCache& views_;

  const unsigned threads_;

  // The background's.
  std::optional<lmdb::ReadTxn> txn_;  // Kept: see ReadTxn on what making one takes.
  std::optional<Ahead> ahead_;
  Lsn still_head_;
  std::int64_t still_since_us_ = 0;
  bool short_of_memory_ = false;  // Then it reads as while marks come.

  mutable std::mutex refused_mutex_;
  std::set<std::uint64_t> refused_;  // Buckets with a damaged record.
  TooSmall too_small_;
  Progress seen_ GUARDED_BY(kWriterGate);
  std::atomic<bool> still_{false};  // As the background has seen it last. Relaxed: it only plans.
  ReadingTurn turn_;
  std::atomic<std::int64_t> look_from_us_{0};  // A boot time. Relaxed: only when something is looked at again.
};

}  // namespace oncelog::internal
