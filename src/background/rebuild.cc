#include "background/rebuild.h"

#include <algorithm>
#include <utility>

#include "background/hint_builder.h"
#include "shared/store_lock.h"

namespace oncelog::internal {

SharedState Rebuild::run(const std::filesystem::path& live_dir, const std::filesystem::path& path,
                         const Former* known) const {
  const SharedState* former = known != nullptr && !known->damaged ? &known->live : nullptr;
  const ClockAnchor fresh{.offset_us = fresh_clock_offset_us(known), .apart_since_us = 0, .least_apart_us = 0};
  const ClockAnchor& anchor = former != nullptr ? former->header().clock : fresh;
  const Clock clock(host, anchor);
  const auto rules = BucketRules::make(identity.retention_us, identity.buckets,
                                       BucketRules::planned_ids_for(settings.expected_ids, identity.buckets));
  const Logged logged = read_tables(rules, clock.retention_us());
  std::int64_t known_since_us = logged.known_since_us;
  std::int64_t known_settles_at_us =
      known_since_us > clock.stamp_us() ? clock.boot_us() + SharedState::kClockSetWithinUs : 0;
  std::uint32_t claims_kept = 0;
  if (former != nullptr) {
    SharedHeader& before = former->header();
    const StoreLock lock(*former);  // Mends what a dead owner left.
    former->leases().each([&](const Lease& lease) { claims_kept += LeaseTable::outlives_owner(lease); });
    // Acquire: pairs with the release by Upkeep.
    known_since_us = std::max(known_since_us, before.known_since_us.load(std::memory_order_acquire));
    known_settles_at_us = before.known_settles_at_us.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
  }
  SharedState live = SharedState::create(path, {.boot_id = host.boot_id(),
                                                .store_file_id = store_file_id,
                                                .clock_offset_us = anchor.offset_us.load(std::memory_order_relaxed),
                                                .start = logged.end,
                                                .planned_ids = rules.planned_ids,
                                                .ring_bytes = settings.ring_bytes,
                                                .max_claims = std::max(settings.max_claims, claims_kept),
                                                .max_bytes = settings.max_bytes,
                                                .known_since_us = known_since_us,
                                                .known_settles_at_us = known_settles_at_us});
  if (former != nullptr) live.leases().take_over(former->leases());
  ViewCache files(live, live_dir);
  Layout layout = make_files(logged, rules, clock.stamp_us(), files);
  live.header().layout.publish(layout);
  if (logged.begin < logged.end)
    HintBuilder(env, log, identity.hash_seed, live, files, layout, host.processors()).run();
  // Release: pairs with the acquire in SharedState::consistent.
  live.header().ready.store(1, std::memory_order_release);
  return live;
}

/// The wall clock minus the boot clock, for shared memory that does not take over an earlier clock.
std::int64_t Rebuild::fresh_clock_offset_us(const Former* known) const {
  const std::int64_t now_us = host.wall_us() - host.boot_us();
  if (known == nullptr || !known->damaged) return now_us;
  const ClockAnchor& doubtful = known->live.header().clock;
  if (!doubtful.possible()) return now_us;
  // The lower one: by it nothing expires early, and records are stamped with the wall clock's time. Relaxed: no other
  // process uses it.
  return std::min(now_us, doubtful.offset_us.load(std::memory_order_relaxed));
}

Rebuild::Logged Rebuild::read_tables(const BucketRules& rules, std::int64_t now_us) const {
  Logged logged;
  BucketRows rows;
  {
    const lmdb::Txn txn(env, MDB_RDONLY);
    logged.known_since_us = static_cast<std::int64_t>(catalog.number(txn, Catalog::Number::known_since_us));
    logged.end = log.end(txn).value_or(SharedState::kFirstLsn);
    logged.begin = log.begin(txn).value_or(SharedState::kFirstLsn);
    rows = catalog.buckets(txn);
    if (!rows.empty()) logged.next_bucket = rows.back().first + 1;
  }
  {
    lmdb::ReadTxn txn(env, log.dbi());
    const lmdb::ReadTxn::Active active(txn);
    rows = sound_rows(rows, txn, logged.begin, logged.end, rules, now_us, logged.known_since_us);
    if (!rows.empty()) logged.next_bucket = std::max(logged.next_bucket, rows.back().first + 1);
  }
  logged.rows = live_rows(std::move(rows), rules, now_us, logged.known_since_us);
  return logged;
}

/// Makes empty files for the buckets' tables, for one filter generation and for the next bucket's table; returns the
/// layout that names them. `stamp_us` is the present time.
Layout Rebuild::make_files(const Logged& logged, const BucketRules& rules, std::int64_t stamp_us,
                           const ViewCache& files) {
  Layout layout;
  layout.next_bucket = logged.next_bucket;
  std::uint64_t largest = rules.planned_ids;
  for (std::size_t i = 0; i < logged.rows.size(); ++i) {
    const BucketRow& row = logged.rows[i].second;
    const bool last = i + 1 == logged.rows.size();
    const std::uint64_t plan =
        last ? std::max(row.entries, rules.planned_ids) : std::max(row.entries, BucketRules::kMinPlannedIds);
    largest = std::max(largest, plan);
    BucketInfo& bucket = layout.buckets[layout.bucket_count++];
    bucket.number = logged.rows[i].first;
    bucket.first_lsn = Lsn{row.first_lsn};
    bucket.slice_begin_us = row.slice_begin_us;
    bucket.slice_end_us = row.slice_begin_us + rules.slice_us;
    bucket.newest_us = row.newest_us;
    bucket.closed_us = std::min(row.newest_us, stamp_us);
    bucket.lane = static_cast<std::uint32_t>(i);
    bucket.tables = 1;
    bucket.table_lsn[0] = bucket.first_lsn;
    bucket.slots[0] = IndexTable::slots_for(plan);
    files.make_index(bucket.number, 0, bucket.slots[0]);
  }
  layout.generation_count = 1;
  layout.generations[0] = {layout.next_generation++, FilterGeneration::lines_for(largest), Lsn{}, layout.live_lanes()};
  files.make_filter(layout.generations[0].number, layout.generations[0].lines);
  layout.spare_bucket_slots = IndexTable::slots_for(rules.planned_ids);
  files.make_index(layout.next_bucket, 0, layout.spare_bucket_slots);
  return layout;
}

}  // namespace oncelog::internal
