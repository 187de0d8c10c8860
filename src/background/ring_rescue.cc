#include "background/ring_rescue.h"

#include <fmt/format.h>

#include "background/bucket_rows.h"
#include "background/log_writer.h"
#include "log/ring_salvage.h"
#include "shared/uncommitted.h"
#include "window/buckets.h"

namespace oncelog::internal {
namespace {

constexpr Lsn kFirstLsn = SharedState::kFirstLsn;

}  // namespace

RingRescue::Saved RingRescue::save(const Former& former) const {
  lmdb::WriteTxn txn(env);
  const SharedHeader& header = former.live.header();
  const Lsn log_end = log.end(txn).value_or(kFirstLsn);
  Uncommitted uncommitted(former.live, identity.hash_seed);
  if (!former.damaged && uncommitted.sound(log_end)) uncommitted.settle(log_end);
  const Ring ring = former.live.ring();
  RingSalvage salvage(ring, identity.hash_seed);
  // Acquire: pair with the releases of producers and flushers, all dead or gone by now.
  const Lsn head{header.marks.head.load(std::memory_order_acquire)};
  const Lsn flushed{header.marks.flushed.load(std::memory_order_acquire)};
  // A log that ends below `flushed` was replaced by an older one. The records in between are forgotten: some were
  // marked by transactions whose effects are gone with the newer log.
  const bool is_older =
      header.marks.flushed_twin.load(std::memory_order_relaxed) == flushed.value || !salvage.record_at(log_end, head);
  Lsn from = log_end;
  if (!former.damaged && flushed > log_end && is_older) from = flushed;
  const bool bounded = !former.damaged && head >= log_end;
  const Lsn limit{bounded ? head.value : from.value + ring.bytes()};
  Saved saved;
  Lsn end = from;
  while (end < limit) {
    if (const auto record = salvage.record_at(end, limit)) {
      saved.records += (record->header.flags() & (kUncommitted | kVoid)) == 0;
      end.value += record->header.bytes();
      continue;
    }
    const auto next = salvage.next_whole(end, limit);
    const auto record = next ? salvage.record_at(*next, limit) : std::nullopt;
    if (!record || !salvage.make_void(end, *next, record->header)) {
      if (bounded || record) saved.lost_from = end;
      break;
    }
    if (saved.places++ == 0) saved.first_place = end;
    end = *next;
  }
  if (from >= end) return saved;
  const auto make_void = [&](std::span<std::byte> block, Lsn lsn) { uncommitted.make_void(block, lsn); };
  std::uint64_t epoch = 0;
  const Layout layout = header.layout.read(epoch);
  if (!former.damaged) {
    write_log(txn, log, catalog, header, ring, layout, from, end, make_void);
  } else {
    const bool known = layout.intact(epoch) && layout.well_formed();
    // What the store has forgotten is taken from the log.
    write_records(txn, log, catalog, ring, known ? layout : layout_of_rows(txn, from, ring.stable_header(from)), from,
                  end, make_void);
  }
  txn.commit();
  return saved;
}

/// As much of a layout as write_records needs for records from `from` on, the first of which is `first`: the bucket of
/// the last row.
Layout RingRescue::layout_of_rows(const lmdb::Txn& txn, Lsn from, const RecordHeader& first) const {
  const BucketRows rows = catalog.buckets(txn);
  const auto rules = BucketRules::make(identity.retention_us, identity.buckets, BucketRules::kMinPlannedIds);
  const bool fits = !rows.empty() && rows.back().second.first_lsn <= from.value;
  Layout layout;
  layout.bucket_count = 1;
  layout.buckets[0].number = rows.empty() ? 1 : rows.back().first + (fits ? 0 : 1);
  layout.buckets[0].first_lsn = fits ? Lsn{rows.back().second.first_lsn} : from;
  layout.buckets[0].slice_begin_us = rules.slice_begin(first.time_us());
  return layout;
}

std::string RingRescue::damage_of(const std::filesystem::path& live, const Former& former, const Saved& saved) {
  if (!former.damaged && saved.places == 0 && saved.lost_from.value == 0) return {};
  std::string said = fmt::format(
      "{}: the store's shared memory was damaged and has been rebuilt; {} records that were not on disk yet "
      "are saved",
      live.string(), saved.records);
  if (saved.places != 0) {
    said += fmt::format("; damaged ones at {} places, the first at LSN {}, are lost, and their ids are fresh",
                        saved.places, saved.first_place.value);
  }
  if (saved.lost_from.value != 0) {
    said += fmt::format("; those from LSN {} on are lost, and their ids are fresh", saved.lost_from.value);
  }
  if (former.damaged) said += "; all claims and locks are released";
  return said;
}

}  // namespace oncelog::internal
