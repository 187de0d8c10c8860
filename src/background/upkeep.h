#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "background/growth.h"
#include "background/healer.h"
#include "base/clock.h"
#include "base/store_locks.h"
#include "lmdb/handles.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// Makes index tables and filter generations before producers need them and has them filled, drops buckets past their
/// retention, sweeps their lanes, and deletes what a rebuild has set aside. Does the I/O that producers must not do
/// under the store's mutex.
///
/// A round holds the writer gate and LMDB's write lock, so that one process at a time makes one. The layout and the
/// clock's anchor change under the store's mutex, which is held for microseconds; for the clock tick() takes it alone.
/// A death at any point leaves a layout from which the next process continues. Thread-safe.
class Upkeep {
 public:
  /// What a producer cannot continue without.
  enum class Demand { none, bucket, table };

  /// At most `threads` threads work at a time.
  Upkeep(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& state, ViewCache& views,
         const BucketRules& rules, const Clock& clock, std::chrono::milliseconds flush_interval, unsigned threads = 1)
      : env_(env),
        state_(state),
        live_(state.header()),
        views_(views),
        rules_(rules),
        clock_(clock),
        flush_interval_(flush_interval),
        growth_{rules.planned_ids},
        healer_(env, log, hash_seed, state, views, threads),
        aside_left_(views.has_set_aside()) {}

  /// Whether there is something to do. Takes none of the store's locks.
  bool due();
  /// Settles the clock, and makes one bounded round if there is something to do. Returns whether there is more. For the
  /// background.
  bool tick() EXCLUDES(kWriterGate, kStoreMutex);

  /// Makes rounds until the demand is met or nothing more can be done for it.
  void serve(Demand demand) EXCLUDES(kWriterGate, kStoreMutex);
  /// The same for a caller that already holds the writer gate and LMDB's write lock.
  void serve_locked(Demand demand) REQUIRES(kWriterGate) EXCLUDES(kStoreMutex);

  /// Drops and sweeps everything past its retention; returns how many buckets.
  std::uint64_t expire() EXCLUDES(kWriterGate, kStoreMutex);

  /// Drops the oldest bucket before its time, for a caller that holds the writer gate and needs its room. Returns false
  /// if only the current bucket is left, which stays.
  bool drop_early() EXCLUDES(kStoreMutex);

 private:
  static constexpr std::uint64_t kSweepLines = 1024;           // In one hold of the mutex: 64 KiB, some microseconds.
  static constexpr std::uint64_t kSweepLinesARound = 1 << 16;  // In one hold of LMDB's write lock: 4 MiB.

  static constexpr std::int64_t kRetryUs = 10'000'000;  // After something that nobody waits for has failed.

  bool round(Demand demand, std::uint64_t* dropped = nullptr) EXCLUDES(kWriterGate);
  bool round_locked(Demand demand, std::uint64_t* dropped = nullptr) REQUIRES(kWriterGate);
  bool round_is_due();
  bool met(Demand demand) const;
  bool oldest_is_past(const Layout& layout) const;
  std::int64_t newest_us_of_oldest(const Layout& layout) const;
  void settle_clock();
  bool known_since_to_settle() const;
  std::uint64_t drop_expired() REQUIRES(kWriterGate);
  void forget_oldest(Layout& layout) REQUIRES(kStoreMutex);
  bool sweep() REQUIRES(kWriterGate);
  void tidy() REQUIRES(kWriterGate);
  void make_table(bool demanded) REQUIRES(kWriterGate);
  void take_built_table(const View& view) REQUIRES(kWriterGate);
  void make_spare_table(const View& view, std::uint64_t wanted) REQUIRES(kWriterGate);
  void build_table(const BucketInfo& bucket, std::uint64_t slots) REQUIRES(kWriterGate);
  void build_generation(std::uint64_t lines) REQUIRES(kWriterGate);
  void use_spare_table() REQUIRES(kWriterGate);
  void replace_table() REQUIRES(kWriterGate);
  void replace_generation() REQUIRES(kWriterGate);
  bool built_table_is_wanted(const View& view) const;
  void note_pace(const View& view);
  void make_generation() REQUIRES(kWriterGate);
  void make_spare_generation(const View& view, std::uint64_t lines) REQUIRES(kWriterGate);
  void make_bucket(bool demanded) REQUIRES(kWriterGate);
  bool wants_table(const View& view) const;
  bool heal() REQUIRES(kWriterGate);
  /// Until when something is not tried again that has failed. One for each kind: where there is no room for a
  /// generation, there may be for a table, and what is there can be filled. A boot time; relaxed: only when something
  /// is tried again.
  using Holdback = std::atomic<std::int64_t>;

  bool may(const Holdback& holdback) const;
  template <typename Work>
  void patiently(Holdback& holdback, Work work) NO_THREAD_SAFETY_ANALYSIS;  // `work` says what it requires.
  bool read_ahead();
  bool allocates_table(const View& view) const { return may(no_table_until_) && healer_.table_unallocated(view); }
  bool allocates_generation(const View& view) const {
    return may(no_generation_until_) && healer_.generation_unallocated(view);
  }
  bool allocate_table() REQUIRES(kWriterGate);
  bool allocate_generation() REQUIRES(kWriterGate);
  void withdraw_spare_generation() REQUIRES(kWriterGate);
  bool spare_is_needed(const View& view) const;
  std::optional<Growth::Replacement> wanted_replacement(const View& view) const;
  std::optional<std::uint64_t> wanted_generation(const View& view) const;
  std::optional<std::uint64_t> next_table(const View& view) const;
  std::optional<std::uint64_t> next_generation(const View& view) const;
  bool wants_bucket(const Layout& layout) const;

  const lmdb::Env& env_;
  const SharedState& state_;
  SharedHeader& live_;
  ViewCache& views_;
  const BucketRules& rules_;
  const Clock& clock_;
  const std::chrono::milliseconds flush_interval_;
  const Growth growth_;
  Pace pace_;
  Healer healer_;
  Holdback no_table_until_{0};
  Holdback no_generation_until_{0};
  Holdback no_step_until_{0};

  std::atomic<bool> aside_left_;  // Files of an earlier life to delete. Relaxed: another look finds out.

  struct SweptGeneration {
    std::uint64_t number;
    LaneMask lanes;
    FilterGeneration* filter;
  };
  static std::vector<SweptGeneration> swept_generations(const View& view);

  // How far this process has swept; another process that takes over begins at the start.
  std::uint64_t swept_drops_ GUARDED_BY(kWriterGate) = 0;
  std::uint64_t swept_generation_ GUARDED_BY(kWriterGate) = 0;
  std::uint64_t swept_lines_ GUARDED_BY(kWriterGate) = 0;
  std::uint64_t tidied_epoch_ GUARDED_BY(kWriterGate) = ~std::uint64_t{0};
};

}  // namespace oncelog::internal
