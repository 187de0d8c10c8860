#include "background/rebuild.h"

#include <algorithm>
#include <utility>

#include "background/bucket_rows.h"
#include "background/hint_builder.h"
#include "base/clock.h"
#include "shared/store_lock.h"
#include "shared/view.h"
#include "window/buckets.h"

namespace oncelog::internal {
namespace {

constexpr Lsn kFirstLsn = SharedState::kFirstLsn;

}  // namespace

SharedState Rebuild::run(const std::filesystem::path& live_dir, const std::filesystem::path& path,
                         const Former* known) const {
  ClockAnchor fresh{.offset_us = host.wall_us() - host.boot_us(), .apart_since_us = 0, .least_apart_us = 0};
  const SharedState* former = known != nullptr && !known->damaged ? &known->live : nullptr;
  if (known != nullptr && known->damaged && known->live.header().clock.possible()) {
    // The lower one: whatever it is, nothing expires early by it, and records are stamped with the wall clock's time.
    // Relaxed: nobody else has it.
    fresh.offset_us = std::min(fresh.offset_us.load(std::memory_order_relaxed),
                               known->live.header().clock.offset_us.load(std::memory_order_relaxed));
  }
  const ClockAnchor& anchor = former != nullptr ? former->header().clock : fresh;
  const Clock clock(host, anchor);
  const std::int64_t now_us = clock.retention_us();
  const auto rules = BucketRules::make(identity.retention_us, identity.buckets,
                                       BucketRules::planned_ids_for(settings.expected_ids, identity.buckets));
  Lsn log_end = kFirstLsn;
  Lsn log_begin = kFirstLsn;
  Layout layout;
  BucketRows rows;
  std::int64_t known_since_us = 0;
  {
    const lmdb::Txn txn(env, MDB_RDONLY);
    known_since_us = static_cast<std::int64_t>(catalog.number(txn, Catalog::Number::known_since_us));
    log_end = log.end(txn).value_or(kFirstLsn);
    log_begin = log.begin(txn).value_or(kFirstLsn);
    rows = catalog.buckets(txn);
    if (!rows.empty()) layout.next_bucket = rows.back().first + 1;
  }
  {
    lmdb::ReadTxn txn(env, log.dbi());
    const lmdb::ReadTxn::Active active(txn);
    rows = sound_rows(std::move(rows), txn, log_begin, log_end, rules, now_us, known_since_us);
    if (!rows.empty()) layout.next_bucket = std::max(layout.next_bucket, rows.back().first + 1);
  }
  rows = live_rows(std::move(rows), rules, now_us, known_since_us);

  std::uint32_t claims_kept = 0;
  std::int64_t known_settles_at_us =
      known_since_us > clock.stamp_us() ? clock.boot_us() + SharedState::kClockSetWithinUs : 0;
  if (former != nullptr) {
    SharedHeader& before = former->header();
    const StoreLock lock(*former);  // Mends what its last owner left, if that one died with it.
    former->leases().each([&](const Lease& lease) { claims_kept += LeaseTable::outlives_owner(lease); });
    // Acquire: pairs with the release by Upkeep.
    known_since_us = std::max(known_since_us, before.known_since_us.load(std::memory_order_acquire));
    known_settles_at_us = before.known_settles_at_us.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
  }
  SharedState live = SharedState::create(path, {.boot_id = host.boot_id(),
                                                .store_file_id = store_file_id,
                                                .clock_offset_us = anchor.offset_us.load(std::memory_order_relaxed),
                                                .start = log_end,
                                                .planned_ids = rules.planned_ids,
                                                .ring_bytes = settings.ring_bytes,
                                                .max_claims = std::max(settings.max_claims, claims_kept),
                                                .max_bytes = settings.max_bytes,
                                                .known_since_us = known_since_us,
                                                .known_settles_at_us = known_settles_at_us});
  if (former != nullptr) live.leases().take_over(former->leases());
  ViewCache files(live, live_dir);
  std::uint64_t largest = rules.planned_ids;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const BucketRow& row = rows[i].second;
    const bool last = i + 1 == rows.size();
    const std::uint64_t plan =
        last ? std::max(row.entries, rules.planned_ids) : std::max(row.entries, BucketRules::kMinPlannedIds);
    largest = std::max(largest, plan);
    BucketInfo& bucket = layout.buckets[layout.bucket_count++];
    bucket.number = rows[i].first;
    bucket.first_lsn = Lsn{row.first_lsn};
    bucket.slice_begin_us = row.slice_begin_us;
    bucket.slice_end_us = row.slice_begin_us + rules.slice_us;
    bucket.newest_us = row.newest_us;
    bucket.closed_us = std::min(row.newest_us, clock.stamp_us());
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
  live.header().layout.publish(layout);
  if (log_begin < log_end) fill_hints(env, log, identity, live, files, layout);
  // Release: pairs with the acquire in SharedState::consistent.
  live.header().ready.store(1, std::memory_order_release);
  return live;
}

}  // namespace oncelog::internal
