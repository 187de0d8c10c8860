#pragma once

#include <chrono>
#include <cstdint>
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
  std::uint64_t index_tables = 0;  ///< 1, and one more for each time it outgrew its index.
  std::uint64_t index_bytes = 0;
};

/// What has happened to ids. mark(), begin() and Transaction::mark() decide; a transaction's decisions count whether it
/// commits or not.
struct IdCounts {
  // Decisions, by verdict.
  std::uint64_t fresh = 0;
  std::uint64_t duplicate = 0;
  std::uint64_t in_progress = 0;
  std::uint64_t conflict = 0;
  std::uint64_t too_old = 0;

  // Claims, by their end.
  std::uint64_t completed = 0;  ///< The id was marked.
  std::uint64_t late = 0;       ///< Somebody else had the id by then.
  std::uint64_t abandoned = 0;  ///< The id was free again.

  // Ids asked with contains() and find().
  std::uint64_t known = 0;
  std::uint64_t unknown = 0;
};

/// The counts of one scope. The first 63 scopes of a store have their own; all others are counted together, under no
/// name.
struct ScopeMetrics {
  std::string scope;
  IdCounts process;
  IdCounts host;
};

/// How values are distributed, as Prometheus has it.
struct HistogramMetrics {
  struct Bucket {
    double up_to = 0;         ///< Seconds or bytes.
    std::uint64_t count = 0;  ///< Of all values up to there, those of earlier buckets included.
  };
  std::vector<Bucket> buckets;  ///< Ascending, each twice as wide as the one before.
  std::uint64_t count = 0;      ///< Of all values, larger ones included.
  double sum = 0;
};

/// Which figures Metrics::prometheus() gives.
enum class MetricsOf : std::uint8_t {
  host_and_process,
  host,  ///< For who only looks and does nothing with the store that would be worth counting.
};

/// A snapshot of a store's state and counters; the parts are read one after the other, not at one instant.
///
/// What all processes of the host have counted lies in shared memory and begins anew when that is made anew, at the
/// latest after a reboot. Each process adds its own counts every flush interval (Options::flush_interval), when it asks
/// for metrics, and when it closes the store; one that opens the store read_only does the last two. A process that is
/// killed takes along what it has counted since, of an interval at most.
struct ONCELOG_API Metrics {
  // --- This process, since it opened the store.
  std::uint64_t checks = 0;             ///< Ids asked with contains() and find().
  std::uint64_t checks_known = 0;       ///< Those that were known.
  std::uint64_t filter_candidates = 0;  ///< Ids, checked or decided on, that the filter could not turn away.
  std::uint64_t log_reads = 0;          ///< Records read from LMDB to answer.
  std::uint64_t marks_fresh = 0;        ///< Decisions that were fresh ...
  std::uint64_t marks_not_fresh = 0;    ///< ... and all others.
  /// Time of mark() and of contains() and find() for one id, waits for the disk included. Samples: every 64th call of a
  /// thread.
  HistogramMetrics mark_seconds;
  HistogramMetrics check_seconds;
  /// Why this process's last flush or round of upkeep failed, or what its event hook threw; empty when all is well.
  std::string last_error;

  // --- This process and the host.
  std::vector<ScopeMetrics> scopes;  ///< In the order of their first use.

  // --- The host: all processes since the shared memory was made (at most since boot).
  std::uint64_t host_records = 0;  ///< Records accepted.
  std::uint64_t host_filter_candidates = 0;
  std::uint64_t host_log_reads = 0;
  HistogramMetrics host_mark_seconds;
  HistogramMetrics host_check_seconds;
  std::uint64_t flushes = 0;  ///< Group commits.
  std::uint64_t flushed_bytes = 0;
  HistogramMetrics flush_seconds;  ///< What each group commit took.
  HistogramMetrics flush_bytes;    ///< Bytes of records in each; 0 when it only gave back space.
  std::chrono::microseconds last_flush{0};
  std::chrono::microseconds longest_flush{0};
  std::uint64_t transactions = 0;  ///< Commits of Store::transact, which are no group commits.
  std::uint64_t dead_owners = 0;   ///< Times the lock was taken over from a process that died holding it.
  std::uint64_t damages = 0;       ///< Times the shared memory was made anew because of damage, see StoreEventKind.
  std::uint64_t takeovers = 0;  ///< Claims and locks that were had by another one after their owner's death or lease.
  std::uint64_t expired_buckets = 0;  ///< Early ones included.
  std::uint64_t early_drops = 0;      ///< Buckets forgotten before their time, see Options::max_bytes.

  // --- The store now.
  Lsn head;     ///< Accepted below.
  Lsn durable;  ///< On disk below.
  std::chrono::milliseconds retention{0};
  Time known_since;  ///< See Store::known_since.
  unsigned buckets = 0;
  std::vector<BucketMetrics> live_buckets;  ///< Oldest first.
  std::uint64_t ids = 0;                    ///< Records in all live buckets.
  std::uint64_t claims_held = 0;            ///< Locks included.
  std::uint64_t max_claims = 0;
  std::uint64_t data_bytes = 0;  ///< Size of data.mdb's used pages, reusable ones included.
  std::uint64_t max_bytes = 0;   ///< The cap in force, see Options::max_bytes; 0 when there is none.
  std::uint64_t log_blocks = 0;
  std::uint64_t ring_bytes = 0;
  std::uint64_t filter_bytes = 0;
  std::uint64_t filter_generations = 0;
  std::uint64_t index_bytes = 0;
  std::chrono::microseconds clock_fault{0};  ///< How far the wall clock has jumped ahead of the boot clock; 0 is well.

  /// All of it in Prometheus' text format: what a process answers to a scrape. Names of the process's own figures begin
  /// with oncelog_process_, those of the host and the store with oncelog_ alone; the latter are the same from every
  /// process, so take them from one. A scope's name that is not UTF-8 is the label scope_hex.
  std::string prometheus(MetricsOf of = MetricsOf::host_and_process) const;
};

}  // namespace oncelog
