#include "background/rebuild.h"

#include <algorithm>
#include <utility>

#include "background/hint_builder.h"
#include "base/failpoint.h"
#include "shared/store_lock.h"

namespace oncelog::internal {

Rebuild::Built Rebuild::run(const std::filesystem::path& live_dir, const std::filesystem::path& path,
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
  ViewCache files(live, live_dir, env.path());
  Layout layout = plan(logged, rules, clock.stamp_us());
  SealedHints sealed = sealed_hints(live_dir);
  sealed.check(layout, logged.end);
  failpoint();
  make_files(layout, sealed, rules, files);
  failpoint();
  live.header().layout.publish(layout);
  sealed.restore_counts(*files.newest());
  failpoint();
  if (logged.begin < logged.end) {
    HintBuilder(env, log, identity.hash_seed, live, files, layout, host.processors()).run(sealed.complete(layout));
  }
  failpoint();
  forget(sealed);
  // Release: pairs with the acquire in SharedState::consistent.
  live.header().ready.store(1, std::memory_order_release);
  return {std::move(live), sealed.damage()};
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

SealedHints Rebuild::sealed_hints(const std::filesystem::path& live_dir) const {
  const lmdb::Txn txn(env, MDB_RDONLY);
  return SealedHints({env.path(), live_dir}, catalog.sealed(txn, store_file_id), host.processors());
}

/// The layout of the buckets that are live, each with one table for as many entries as its row says, and nothing else.
/// `stamp_us` is the present time.
Layout Rebuild::plan(const Logged& logged, const BucketRules& rules, std::int64_t stamp_us) {
  Layout layout;
  layout.next_bucket = logged.next_bucket;
  for (std::size_t i = 0; i < logged.rows.size(); ++i) {
    const BucketRow& row = logged.rows[i].second;
    const bool last = i + 1 == logged.rows.size();
    const std::uint64_t plan =
        last ? std::max(row.entries, rules.planned_ids) : std::max(row.entries, BucketRules::kMinPlannedIds);
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
  }
  return layout;
}

/// Makes files for the buckets' tables that are not sealed, for one filter generation and for the next bucket's table,
/// and writes the latter two into the layout.
void Rebuild::make_files(Layout& layout, const SealedHints& sealed, const BucketRules& rules, const ViewCache& files) {
  std::uint64_t largest = rules.planned_ids;
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    if (sealed.has_table(i)) continue;
    const BucketInfo& bucket = layout.buckets[i];
    largest = std::max(largest, IndexTable::planned_of(bucket.slots[0]));
    files.make_index(bucket.number, 0, bucket.slots[0]);
  }
  const std::uint64_t lines = sealed.lines() != 0 ? sealed.lines() : FilterGeneration::lines_for(largest);
  layout.generation_count = 1;
  layout.generations[0] = {layout.next_generation++, lines, Lsn{}, layout.live_lanes()};
  sealed.make_files(layout, files);
  if (sealed.lines() == 0) files.make_filter(layout.generations[0].number, lines);
  layout.spare_bucket_slots = IndexTable::slots_for(rules.planned_ids);
  files.make_index(layout.next_bucket, 0, layout.spare_bucket_slots);
}

/// Deletes the notes of what was damaged or is missing, so that it is reported once and sealed again. Where that fails,
/// because the disk is full for example, it is found again after the next reboot.
void Rebuild::forget(const SealedHints& sealed) const {
  const auto useless = sealed.useless();
  if (useless.empty()) return;
  try {
    lmdb::WriteTxn txn(env);
    catalog.drop_sealed_unless(txn, store_file_id, [&](std::uint64_t bucket, const SealedNote&) {
      return std::ranges::find(useless, bucket) == useless.end();
    });
    txn.commit();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::full && error.code() != ErrorCode::io) throw;
  }
}

}  // namespace oncelog::internal
