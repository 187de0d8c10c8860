#pragma once

/// @file
/// A store's figures.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

/// One time bucket of the store.
struct BucketMetrics {
  std::uint64_t number = 0;        ///< Counts up from the store's creation.
  Time slice_begin;                ///< The time slice that it covers ...
  Time slice_end;                  ///< ... up to here.
  Lsn first_lsn;                   ///< Its records are at this LSN and above, up to the next bucket's.
  std::uint64_t ids = 0;           ///< Records in it.
  std::uint64_t index_tables = 0;  ///< 1, and more for a while after it outgrew its index.
  std::uint64_t index_bytes = 0;   ///< Shared memory that its index takes.
};

/// What has happened to ids. mark(), begin() and Transaction::mark() decide. A transaction's decisions count whether it
/// commits or not.
struct IdCounts {
  // Decisions, by verdict.
  std::uint64_t fresh = 0;        ///< Decisions that were Verdict::fresh.
  std::uint64_t duplicate = 0;    ///< Decisions that were Verdict::duplicate.
  std::uint64_t in_progress = 0;  ///< Decisions that were Verdict::in_progress.
  std::uint64_t conflict = 0;     ///< Decisions that were Verdict::conflict.
  std::uint64_t too_old = 0;      ///< Decisions that were Verdict::too_old.

  // Claims, by their end.
  std::uint64_t completed = 0;  ///< Claims that ended with their id marked.
  std::uint64_t late = 0;       ///< Claims that were lost before complete(): nothing was marked.
  std::uint64_t abandoned = 0;  ///< Claims that ended with their id free again.

  // Ids asked with contains() and find().
  std::uint64_t known = 0;    ///< Ids asked with contains() or find() that were known.
  std::uint64_t unknown = 0;  ///< Ids asked with contains() or find() that were not.
};

/// The counts of one scope. The first 63 scopes of a store have counters of their own. All later ones are counted
/// together, under no name.
struct ScopeMetrics {
  std::string scope;  ///< Its name; empty for all later ones together.
  IdCounts process;   ///< This process's, since it opened the store.
  IdCounts host;      ///< All processes', since the shared memory was made.
};

/// How values are distributed: a histogram of Prometheus.
struct HistogramMetrics {
  /// How many values are up to a bound.
  struct Bucket {
    double up_to = 0;         ///< Seconds or bytes.
    std::uint64_t count = 0;  ///< Of all values up to there, those of earlier buckets included.
  };
  std::vector<Bucket> buckets;  ///< Ascending, each twice as wide as the one before.
  std::uint64_t count = 0;      ///< Of all values, larger ones included.
  double sum = 0;               ///< Of all values, in seconds or bytes.
};

/// Which figures Metrics::prometheus() prints.
enum class MetricsOf : std::uint8_t {
  host_and_process,  ///< The host's, and those of the process that asks.
  host,              ///< Host figures only, for monitors.
};

/// A snapshot of a store's state and counters. Its parts are read one after the other, not at one instant.
///
/// Host counters lie in shared memory, and are reset when that is rebuilt, at the latest after a reboot. Each process
/// adds its own counts every flush interval, when it asks for metrics, and when it closes the store; one that opened
/// the store read_only does the last two. A killed process loses at most one interval of its counts.
struct ONCELOG_API Metrics {
  // --- This process, since it opened the store.
  std::uint64_t checks = 0;             ///< Ids asked with contains() and find().
  std::uint64_t checks_known = 0;       ///< Of these, ids that were known.
  std::uint64_t filter_candidates = 0;  ///< Ids, checked or decided on, that the filter could not turn away.
  std::uint64_t log_reads = 0;          ///< Records read from LMDB to answer.
  std::uint64_t marks_fresh = 0;        ///< Decisions that were fresh.
  std::uint64_t marks_not_fresh = 0;    ///< Decisions that were anything else.
  /// Time of mark() for one id, waits for the disk included. Sampled: every 64th call of a thread.
  HistogramMetrics mark_seconds;
  /// Time of contains() and find() for one id. Sampled: every 64th call of a thread.
  HistogramMetrics check_seconds;
  /// Why this process's last flush or round of upkeep failed, or what its event hook threw; empty when all is well.
  std::string last_error;

  // --- This process and the host.
  std::vector<ScopeMetrics> scopes;  ///< In the order of their first use.

  // --- The host: all processes since the shared memory was made (at most since boot).
  std::uint64_t host_records = 0;              ///< Records accepted.
  std::uint64_t host_filter_candidates = 0;    ///< filter_candidates of all processes.
  std::uint64_t host_log_reads = 0;            ///< log_reads of all processes.
  HistogramMetrics host_mark_seconds;          ///< mark_seconds of all processes.
  HistogramMetrics host_check_seconds;         ///< check_seconds of all processes.
  std::uint64_t flushes = 0;                   ///< Group commits.
  std::uint64_t flushed_bytes = 0;             ///< Bytes of records in them.
  HistogramMetrics flush_seconds;              ///< What each group commit took.
  HistogramMetrics flush_bytes;                ///< Bytes of records in each; 0 when it only gave back space.
  std::chrono::microseconds last_flush{0};     ///< What the last group commit took.
  std::chrono::microseconds longest_flush{0};  ///< What the longest group commit took.
  std::uint64_t transactions = 0;              ///< Commits of Store::transact, which are no group commits.
  std::uint64_t dead_owners = 0;      ///< Times the store's lock was recovered from a process that died holding it.
  std::uint64_t damages = 0;          ///< Times the shared memory was rebuilt because of damage, see StoreEventKind.
  std::uint64_t takeovers = 0;        ///< Claims and locks taken over after their owner's death or the lease's expiry.
  std::uint64_t expired_buckets = 0;  ///< Buckets dropped, early ones included.
  std::uint64_t early_drops = 0;      ///< Buckets forgotten before their time, see Options::max_bytes.

  // --- The store now.
  Lsn head;                                  ///< Everything below is accepted.
  Lsn durable;                               ///< Everything below is on disk.
  std::chrono::milliseconds retention{0};    ///< See Options::retention.
  Time known_since;                          ///< See Store::known_since.
  unsigned buckets = 0;                      ///< See Options::buckets.
  std::vector<BucketMetrics> live_buckets;   ///< Oldest first.
  std::uint64_t ids = 0;                     ///< Records in all live buckets.
  std::uint64_t claims_held = 0;             ///< Claims and locks held.
  std::uint64_t max_claims = 0;              ///< See Options::max_claims.
  std::uint64_t data_bytes = 0;              ///< Size of data.mdb's used pages, reusable ones included.
  std::uint64_t max_bytes = 0;               ///< The cap in force, see Options::max_bytes; 0 when there is none.
  std::uint64_t log_blocks = 0;              ///< LMDB blocks that hold the log.
  std::uint64_t ring_bytes = 0;              ///< See Options::ring_bytes.
  std::uint64_t filter_bytes = 0;            ///< Shared memory that the filter takes.
  std::uint64_t filter_generations = 0;      ///< In use; more than one after the filter was outgrown.
  std::uint64_t index_bytes = 0;             ///< Shared memory that all indexes take.
  std::filesystem::path live_dir;            ///< Where the shared memory lies: the store's directory, or one elsewhere.
  bool live_dir_chosen = false;              ///< The store has chosen it itself, see Options::live_dir.
  std::uint64_t sealed_buckets = 0;          ///< Of the live ones, those whose hints are on disk for after a reboot.
  std::uint64_t unsealed_bytes = 0;          ///< Bytes of live records that opening after a reboot reads.
  std::chrono::microseconds clock_fault{0};  ///< How far the wall clock is ahead of the boot clock; 0 when all is well.

  /// All of it in Prometheus' text format: what a process answers to a scrape. Names of the process's own figures begin
  /// with oncelog_process_. Those of the host and the store begin with oncelog_ alone, and are the same from every
  /// process: take them from one. A scope's name that is not UTF-8 is the label scope_hex. Any thread, on a snapshot of
  /// its own.
  std::string prometheus(MetricsOf of = MetricsOf::host_and_process) const;
};

}  // namespace oncelog
