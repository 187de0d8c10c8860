#include "engine/metrics.h"

#include <algorithm>
#include <string>
#include <utility>

namespace oncelog::internal {
namespace {

Time to_time(std::int64_t us) {
  return Time{std::chrono::microseconds{us}};
}

// Relaxed: counters order nothing.
std::uint64_t value_of(const std::atomic<std::uint64_t>& counter) {
  return counter.load(std::memory_order_relaxed);
}
std::uint64_t value_of(std::uint64_t counter) {
  return counter;
}

/// Which of a histogram's buckets are worth reporting, and what its values are counted in.
struct Scale {
  std::size_t first;
  std::size_t last;
  double divisor;  // Makes seconds or bytes of them. Not a factor: quotients are shown as the decimals that they are.
};
constexpr Scale kCallNs{6, 33, 1e9};    // 64 ns to 9 s.
constexpr Scale kFlushUs{6, 24, 1e6};   // 64 us to 17 s.
constexpr Scale kFlushBytes{6, 30, 1};  // 64 bytes to 1 GiB, the largest ring.
static_assert(kCallNs.last < BasicHistogram<std::uint64_t>::kBuckets - 1, "the last bucket has no bound");

template <typename Cell>
HistogramMetrics to_metrics(const BasicHistogram<Cell>& histogram, const Scale& scale) {
  HistogramMetrics metrics;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    metrics.count += value_of(histogram.counts[i]);
    if (i < scale.first || i > scale.last) continue;
    metrics.buckets.push_back({static_cast<double>(std::uint64_t{1} << i) / scale.divisor, metrics.count});
  }
  metrics.sum = static_cast<double>(value_of(histogram.sum)) / scale.divisor;
  return metrics;
}

template <typename Cells>
IdCounts to_metrics(const Cells& cells) {
  const auto of = [&](IdEvent event) { return value_of(cells[static_cast<std::size_t>(event)]); };
  return {.fresh = of(IdEvent::fresh),
          .duplicate = of(IdEvent::duplicate),
          .in_progress = of(IdEvent::in_progress),
          .conflict = of(IdEvent::conflict),
          .too_old = of(IdEvent::too_old),
          .completed = of(IdEvent::completed),
          .late = of(IdEvent::late),
          .abandoned = of(IdEvent::abandoned),
          .known = of(IdEvent::known),
          .unknown = of(IdEvent::unknown)};
}

void add_ids(Metrics& metrics, OpenedStore& store, const Tally& process) {
  const HostTally& host = store.header().tally;
  lmdb::ReadTxn& txn = store.reader().txn();
  const lmdb::ReadTxn::Active active(txn);
  metrics.log_blocks = store.log().blocks(txn);
  auto names = store.catalog().scopes(txn);
  std::ranges::sort(names);
  const auto add_scope = [&](std::uint32_t slot, std::string name) {
    metrics.scopes.push_back({std::move(name), to_metrics(process.ids[slot]), to_metrics(host.ids[slot])});
  };
  for (auto& [number, name] : names) {
    if (Tally::slot_of(number) != 0) add_scope(number, std::move(name));
  }
  if (names.size() >= Tally::kSlots) add_scope(0, {});
  for (const auto& row : process.ids) {
    const IdCounts counts = to_metrics(row);
    metrics.checks += counts.known + counts.unknown;
    metrics.checks_known += counts.known;
    metrics.marks_fresh += counts.fresh;
    metrics.marks_not_fresh += counts.duplicate + counts.in_progress + counts.conflict + counts.too_old;
  }
}

void add_times(Metrics& metrics, const Tally& process, const HostTally& host) {
  metrics.filter_candidates = process.filter_candidates;
  metrics.log_reads = process.log_reads;
  metrics.mark_seconds = to_metrics(process.times_of(Timed::mark), kCallNs);
  metrics.check_seconds = to_metrics(process.times_of(Timed::check), kCallNs);
  metrics.host_filter_candidates = value_of(host.filter_candidates);
  metrics.host_log_reads = value_of(host.log_reads);
  metrics.host_mark_seconds = to_metrics(host.times_of(Timed::mark), kCallNs);
  metrics.host_check_seconds = to_metrics(host.times_of(Timed::check), kCallNs);
}

void add_host(Metrics& metrics, const HostCounters& host) {
  metrics.host_records = value_of(host.records);
  metrics.dead_owners = value_of(host.dead_owners);
  metrics.damages = value_of(host.damages);
  metrics.takeovers = value_of(host.takeovers);
  metrics.expired_buckets = value_of(host.expired_buckets);
  metrics.early_drops = value_of(host.early_drops);
  metrics.flushes = value_of(host.flushes);
  metrics.flushed_bytes = value_of(host.flushed_bytes);
  metrics.flush_seconds = to_metrics(host.flush_us, kFlushUs);
  metrics.flush_bytes = to_metrics(host.flush_bytes, kFlushBytes);
  metrics.last_flush = std::chrono::microseconds(value_of(host.last_flush_us));
  metrics.longest_flush = std::chrono::microseconds(value_of(host.longest_flush_us));
  metrics.transactions = value_of(host.transactions);
}

void add_buckets(Metrics& metrics, const View& view) {
  for (const View::Bucket& bucket : view.buckets) {
    BucketMetrics one;
    one.number = bucket.info.number;
    one.slice_begin = to_time(bucket.info.slice_begin_us);
    one.slice_end = to_time(bucket.info.slice_end_us);
    one.first_lsn = bucket.info.first_lsn;
    one.index_tables = bucket.tables.size();
    one.ids = bucket.records();
    for (const auto& table : bucket.tables) one.index_bytes += IndexTable::file_bytes(table->slots());
    metrics.ids += one.ids;
    metrics.index_bytes += one.index_bytes;
    metrics.live_buckets.push_back(one);
  }
  const Layout& layout = view.layout;
  for (const std::uint64_t spare : {layout.spare_bucket_slots, layout.spare_table_slots, layout.building_slots}) {
    if (spare != 0) metrics.index_bytes += IndexTable::file_bytes(spare);
  }
  for (const auto& generation : view.generations) {
    metrics.filter_bytes += FilterGeneration::file_bytes(generation->lines());
  }
  for (const std::uint64_t spare : {layout.spare_generation_lines, layout.building_lines}) {
    if (spare != 0) metrics.filter_bytes += FilterGeneration::file_bytes(spare);
  }
  metrics.filter_generations = view.generations.size();
}

/// What a reboot would find on disk. The notes are read after the view, so that they may say more than it.
void add_sealed(Metrics& metrics, OpenedStore& store, const View& view) {
  lmdb::ReadTxn& txn = store.reader().txn();
  const lmdb::ReadTxn::Active active(txn);
  const auto notes = store.catalog().sealed(txn, store.store_file_id());
  for (std::size_t i = 0; i < view.buckets.size(); ++i) {
    const BucketInfo& bucket = view.buckets[i].info;
    const std::uint64_t end = view.bucket_end(i, metrics.head).value;
    std::uint64_t sealed = bucket.first_lsn.value;
    for (const auto& [number, note] : notes) {
      const bool of_bucket = number == bucket.number && note.first_lsn == bucket.first_lsn.value;
      if (of_bucket) sealed = std::min(note.end, end);
    }
    metrics.sealed_buckets += sealed > bucket.first_lsn.value;
    metrics.unsealed_bytes += end - std::min(sealed, end);
  }
}

}  // namespace

IdCounts counts_of(const ThreadTally& tally, std::uint32_t scope) {
  return to_metrics(tally.ids[Tally::slot_of(scope)]);
}

Metrics collect_metrics(OpenedStore& store) {
  store.check_usable();
  Metrics metrics;
  const Tally process = store.fold_tally();
  const SharedHeader& header = store.header();
  add_ids(metrics, store, process);
  add_times(metrics, process, header.tally);
  add_host(metrics, header.counters);
  metrics.durable = store.durable();
  metrics.head = store.head();
  const auto view = store.views().newest();
  add_buckets(metrics, *view);
  add_sealed(metrics, store, *view);
  metrics.known_since = store.known_since();
  const StoreIdentity& identity = store.identity();
  metrics.retention =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::microseconds(identity.retention_us));
  metrics.buckets = identity.buckets;
  metrics.ring_bytes = store.state().ring().bytes();
  metrics.data_bytes = store.env().used_bytes();
  metrics.claims_held = header.leases.held.load(std::memory_order_relaxed);  // Relaxed: a count.
  metrics.max_claims = header.max_claims;
  metrics.max_bytes = header.max_bytes.load(std::memory_order_relaxed);
  metrics.live_dir = store.live_dir();
  metrics.live_dir_chosen = store.live_dir_is_chosen();
  if (const std::int64_t fault_us = store.clock().fault_us(); fault_us > Clock::kNoiseUs) {
    metrics.clock_fault = std::chrono::microseconds{fault_us};
  }
  metrics.last_error = store.last_error();
  return metrics;
}

}  // namespace oncelog::internal
