#include "background/recovery.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "background/log_writer.h"
#include "base/clock.h"
#include "base/error.h"
#include "log/intact_record.h"
#include "log/ring_salvage.h"
#include "shared/directory.h"
#include "shared/store_lock.h"
#include "shared/uncommitted.h"

namespace oncelog::internal {
namespace {

constexpr Lsn kFirstLsn{kRecordUnit};  // 0 stands for no record.
// Of the kLanes lanes one is kept for the next bucket, so that the first mark finds it.
constexpr std::size_t kMaxRebuiltBuckets = kMaxLiveBuckets - 1;

using BucketRows = std::vector<std::pair<std::uint64_t, BucketRow>>;

/// How long after a boot a known_since that lies in the future is believed: the clock may not be set yet.
constexpr std::int64_t kClockSetWithinUs = std::int64_t{3600} * 1'000'000;

/// The header of the last record that begins below `end`; nothing when the log has none. Not checked against its
/// checksum: whoever decides by it reads the record again.
std::optional<RecordHeader> last_header_below(const lmdb::ReadTxn& txn, Lsn end) {
  const auto block = Log::last_block_below(txn, end);
  if (!block) return std::nullopt;
  std::optional<RecordHeader> last;
  Lsn lsn = block->lsn;
  for (lmdb::Bytes rest = block->bytes; lsn < end && rest.size() >= kRecordHeaderBytes;) {
    const RecordHeader header = RecordHeader::load(rest.data());
    if (!header.well_formed() || header.bytes() > rest.size()) break;  // Found when the records are read.
    last = header;
    rest = rest.subspan(header.bytes());
    lsn.value += header.bytes();
  }
  return last;
}

/// What the rows say of the log, where the log does not contradict them. They are hints: only where one bucket ends
/// and the next begins is theirs to say, and a row that cannot be right joins its bucket with the one before it.
BucketRows sound_rows(BucketRows rows, const lmdb::ReadTxn& txn, Lsn log_begin, Lsn log_end, const BucketRules& rules,
                      std::int64_t now_us, std::int64_t known_since_us) {
  BucketRows sound;
  for (const auto& [number, row] : rows) {
    const bool possible = row.first_lsn % kRecordUnit == 0 && row.first_lsn >= kFirstLsn.value;
    if (possible && row.first_lsn >= log_end.value) continue;
    if (sound.empty()) {
      sound.emplace_back(number, row);
      if (!possible) sound[0].second.first_lsn = log_begin.value;
    } else if (possible && row.first_lsn > sound.back().second.first_lsn) {
      sound.emplace_back(number, row);
    } else {
      BucketRow& before = sound.back().second;
      if (possible) before.first_lsn = std::min(before.first_lsn, row.first_lsn);
      before.entries = std::max(before.entries, row.entries);
    }
  }
  // Records below the first row are forgotten ones that wait to be deleted, or those of a row that is lost.
  const Lsn first = sound.empty() ? log_end : Lsn{sound[0].second.first_lsn};
  if (const auto last = log_begin < first ? last_header_below(txn, first) : std::nullopt;
      last && last->time_us() >= known_since_us && !rules.past_retention(last->time_us(), now_us)) {
    if (sound.empty()) sound.emplace_back(1, BucketRow{.slice_begin_us = rules.slice_begin(last->time_us())});
    sound[0].second.first_lsn = log_begin.value;
  }
  for (std::size_t i = 0; i < sound.size(); ++i) {
    BucketRow& row = sound[i].second;
    const Lsn end = i + 1 == sound.size() ? log_end : Lsn{sound[i + 1].second.first_lsn};
    // Of its last record: their times are in the order of their LSNs.
    if (const auto last = last_header_below(txn, end)) row.newest_us = last->time_us();
    row.slice_begin_us = std::clamp(row.slice_begin_us, std::int64_t{0}, kMaxTimeUs);
    row.entries = std::min(row.entries, (end.value - row.first_lsn) / kRecordHeaderBytes);
  }
  return sound;
}

/// Those of live buckets, at most kMaxRebuiltBuckets: where more are (the clock went back between two boots) the
/// oldest are joined. Raises `known_since_us` over what the others had: by a clock that is set back later that may not
/// be past its retention.
BucketRows live_rows(BucketRows rows, const BucketRules& rules, std::int64_t now_us, std::int64_t& known_since_us) {
  std::erase_if(rows, [&](const auto& row) {
    const bool past = rules.past_retention(row.second.newest_us, now_us);
    if (past) known_since_us = std::max(known_since_us, row.second.newest_us + 1);
    return past;
  });
  while (rows.size() > kMaxRebuiltBuckets) {
    // Under the older one's number: rows below the oldest live bucket's are deleted, and the next rebuild needs both.
    rows[0].second.newest_us = std::max(rows[0].second.newest_us, rows[1].second.newest_us);
    rows[0].second.entries += rows[1].second.entries;
    rows.erase(rows.begin() + 1);
  }
  return rows;
}

constexpr const char* kLiveName = "live";
constexpr const char* kNewLiveName = "live-new";  // Until everything is there.

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", path);
}

/// Deletes every filter and index file in a live directory of this store; its `live` is of no use after that, but for
/// what it says of clock and claims.
void remove_hints(const std::filesystem::path& live_dir) {
  std::error_code failed;
  std::vector<std::filesystem::path> hints;
  for (std::filesystem::directory_iterator at(live_dir, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with("filter-") || name.starts_with("index-")) hints.push_back(at->path());
  }
  // A directory that is not there has no files either. In one that cannot be read hints may be left beside a `live`
  // whose ring is about to be given back: whoever believed in both would miss records.
  if (failed && failed != std::errc::no_such_file_or_directory) {
    throw system_error(failed.value(), "reading it", live_dir);
  }
  for (const auto& path : hints) remove_file(path);
  remove_file(live_dir / kNewLiveName);
}

}  // namespace

Recovery::Opened Recovery::open(const std::filesystem::path& live_dir, const std::filesystem::path& former_dir,
                                bool alone) const {
  if (!alone) {
    if (auto live = SharedState::open(live_dir / kLiveName, host.boot_id(), store_file_id))
      return {std::move(*live), {}};
    throw Error(
        ErrorCode::in_use,
        fmt::format("{}: the store's shared memory is missing or damaged while other processes use it; close the store "
                    "in every process, and the next one to open it makes it anew",
                    (live_dir / kLiveName).string()),
        live_dir / kLiveName);
  }
  const bool moved = !former_dir.empty() && former_dir != live_dir;
  auto here = find(live_dir);
  auto elsewhere = moved ? find(former_dir) : std::nullopt;
  // What is here is older than what is there, unless that is gone.
  Former* const former = elsewhere ? &*elsewhere : here ? &*here : nullptr;
  if (former != nullptr && !former->damaged) mend(former->live);
  const bool whole = former != nullptr && !former->damaged && !elsewhere && usable(former->live, live_dir);
  std::string damage;
  std::optional<SharedState> made;
  if (!whole) {
    if (former != nullptr) {
      const std::filesystem::path& place = elsewhere ? former_dir : live_dir;
      damage = damage_of(place / kLiveName, *former, save_ring(*former));
      remove_hints(place);
      former->live.give_back_ring();
    }
    made.emplace(rebuild(live_dir, former));
    // Relaxed: a counter, and nobody else has it.
    if (!damage.empty()) HostCounters::add(made->header().counters.damages, 1);
  }
  if (moved) {
    remove_hints(former_dir);
    remove_file(former_dir / kLiveName);
  }
  if (whole) {
    // Of what is on disk the log has the copy that a checksum guards. Relaxed: nobody else has it.
    SharedHeader& header = here->live.header();
    header.believed_from.store(header.marks.flushed.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  return {std::move(whole ? here->live : *made), std::move(damage)};
}

std::optional<Recovery::Former> Recovery::find(const std::filesystem::path& live_dir) const {
  const auto boot_id = host.boot_id();
  if (auto live = SharedState::open(live_dir / kLiveName, boot_id, store_file_id))
    return Former{std::move(*live), false};
  if (auto live = SharedState::open_damaged(live_dir / kLiveName, boot_id, store_file_id))
    return Former{std::move(*live), true};
  return std::nullopt;
}

/// Sets right what damage may have changed without making the header contradict itself. Nobody else has it, so that all
/// accesses are relaxed.
void Recovery::mend(const SharedState& live) const {
  live.mend();
  SharedHeader& header = live.header();
  const lmdb::Txn txn(env, MDB_RDONLY);
  live.leases().doubt(catalog.number(txn, Catalog::Number::token_epoch));
  // What the log has forgotten is forgotten, and nothing that was processed later than now.
  const auto noted_us = static_cast<std::int64_t>(catalog.number(txn, Catalog::Number::known_since_us));
  const std::int64_t latest_known_us = std::max(noted_us, Clock(host, header.clock).stamp_us() + 1);
  const std::int64_t known_us = header.known_since_us.load(std::memory_order_relaxed);
  header.known_since_us.store(std::clamp(known_us, noted_us, latest_known_us), std::memory_order_relaxed);
  const std::int64_t latest_us = host.boot_us() + kClockSetWithinUs;
  if (header.known_settles_at_us.load(std::memory_order_relaxed) > latest_us) {
    header.known_settles_at_us.store(latest_us, std::memory_order_relaxed);
  }
  // So that the next flush does not wait for a time that never comes.
  header.counters.last_flush_at_us.store(0, std::memory_order_relaxed);
}

bool Recovery::usable(const SharedState& live, const std::filesystem::path& live_dir) const {
  const lmdb::Txn txn(env, MDB_RDONLY);
  const Lsn log_end = log.end(txn).value_or(kFirstLsn);
  SharedHeader& header = live.header();
  // Acquire: pair with the releases of producers and flushers, all dead or gone by now.
  Lsn head{header.marks.head.load(std::memory_order_acquire)};
  const Lsn flushed{header.marks.flushed.load(std::memory_order_acquire)};
  // A log that ends below was replaced by an older one, a log that ends above by another.
  if (log_end < flushed || log_end > head) return false;
  RingSalvage ring(live.ring(), identity.hash_seed);
  try {
    ViewCache files(live, live_dir);
    const auto view = files.newest();
    files.check_spares(view->layout);
    // The index is told of a record once that is accepted. So a head below is damaged, and what it hides is in the
    // ring.
    if (const Lsn reached = view->reached(); reached > head && ring.whole_until(flushed, reached) == reached) {
      head = reached;
      header.marks.head.store(head.value, std::memory_order_relaxed);  // Nobody else has it.
    }
    // Files that are older than `live` were put back from a copy, and lack what has come since.
    if (!view->reaches(head)) return false;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::in_use) throw;
    return false;  // A file is missing or foreign.
  }
  const Uncommitted uncommitted(live, identity.hash_seed);
  if (!uncommitted.sound(log_end)) return false;
  lmdb::ReadTxn records(env, log.dbi());
  const lmdb::ReadTxn::Active active(records);
  const auto newest = last_header_below(records, log_end);
  std::int64_t newest_us = newest ? newest->time_us() : 0;
  for (Lsn at = flushed; at < head;) {
    const auto record = ring.record_at(at, head);
    if (!record) return false;
    if ((record->header.flags() & kUncommitted) != 0 && !uncommitted.announces(at)) return false;
    newest_us = std::max(newest_us, record->header.time_us());
    at.value += record->header.bytes();
  }
  // An earlier time than the newest record's would have that expire before its time, one to come would have what is
  // marked from now on remembered for longer. Acquire: pairs with the release by producers.
  const std::int64_t last_us = header.marks.last_time_us.load(std::memory_order_acquire);
  return last_us >= newest_us && last_us <= std::max(newest_us, Clock(host, header.clock).stamp_us());
}

/// Writes into the log what the ring has and the log has not. The records alone say where they end, unless the head can
/// be believed; damaged ones become void where whole ones follow.
Recovery::Saved Recovery::save_ring(const Former& former) const {
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
  // A log that ends below what was flushed was replaced by an older one. What came after that is forgotten: with the
  // marks of transactions alone their effects would be lost.
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
    // What the store has forgotten is as the log has it.
    write_records(txn, log, catalog, ring, known ? layout : layout_of_rows(txn, from, ring.stable_header(from)), from,
                  end, make_void);
  }
  txn.commit();
  return saved;
}

/// As much of a layout as it takes to write records from `from` on, the first of which is `first`, into the bucket that
/// has the last row.
Layout Recovery::layout_of_rows(const lmdb::Txn& txn, Lsn from, const RecordHeader& first) const {
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

std::string Recovery::damage_of(const std::filesystem::path& live, const Former& former, const Saved& saved) const {
  if (!former.damaged && saved.places == 0 && saved.lost_from.value == 0) return {};
  std::string said = fmt::format(
      "{}: the store's shared memory was damaged and was made anew; {} records that were not "
      "on disk yet are saved",
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

/// `known`: an earlier life of the shared memory in this boot, whose ring is saved. What it alone knows goes on: the
/// clock, and unless it is damaged the claims that outlive their owners, and the tokens. It is replaced when all is
/// done, so that a death before leaves it to the next.
SharedState Recovery::rebuild(const std::filesystem::path& live_dir, const Former* known) const {
  make_live_directory(live_dir, env.path());
  remove_hints(live_dir);

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
  std::int64_t known_settles_at_us = known_since_us > clock.stamp_us() ? clock.boot_us() + kClockSetWithinUs : 0;
  if (former != nullptr) {
    SharedHeader& before = former->header();
    const StoreLock lock(*former);  // Mends what its last owner left, if that one died with it.
    former->leases().each([&](const Lease& lease) { claims_kept += LeaseTable::outlives_owner(lease); });
    // Acquire: pairs with the release by Upkeep.
    known_since_us = std::max(known_since_us, before.known_since_us.load(std::memory_order_acquire));
    known_settles_at_us = before.known_settles_at_us.load(std::memory_order_relaxed);  // Relaxed: under the mutex.
  }
  SharedState live =
      SharedState::create(live_dir / kNewLiveName, {.boot_id = host.boot_id(),
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
  if (log_begin < log_end) fill(live, files, layout);
  // Release: pairs with the acquire in SharedState::consistent.
  live.header().ready.store(1, std::memory_order_release);
  if (::rename((live_dir / kNewLiveName).c_str(), (live_dir / kLiveName).c_str()) != 0) {
    throw system_error(errno, "rename", live_dir / kNewLiveName);
  }
  return live;
}

/// The record at the beginning of `bytes`, compared with its checksum.
std::pair<RecordView, MessageHash> Recovery::intact_record(lmdb::Bytes bytes, Lsn lsn) const {
  if (const auto found = internal::intact_record(bytes, lsn, identity.hash_seed)) return *found;
  throw error_at(ErrorCode::corrupt, env.path(), "the record at LSN {} of data.mdb is damaged", lsn.value);
}

void Recovery::verify_log() const {
  lmdb::ReadTxn txn(env, log.dbi());
  const lmdb::ReadTxn::Active active(txn);
  for (auto block = Log::block_at(txn, kFirstLsn); block; block = Log::block_at(txn, block->end())) {
    Lsn lsn = block->lsn;
    for (lmdb::Bytes rest = block->bytes; !rest.empty();) {
      const std::size_t bytes = intact_record(rest, lsn).first.header.bytes();
      rest = rest.subspan(bytes);
      lsn.value += bytes;
    }
  }
}

/// Reads the log into the index and the filter; nobody else sees them yet. What the rows said too little of gets more
/// tables and generations.
void Recovery::fill(const SharedState& live, ViewCache& files, Layout& layout) const {
  struct Pending {
    MessageHash hash;
    Lsn lsn;
    std::optional<MessageHash> correlation;
    Lsn previous;
  };
  constexpr std::size_t kBatch = 32;  // Their cache misses overlap.
  auto view = files.newest();
  const auto publish = [&] {
    live.header().layout.publish(layout);
    view = files.newest();
  };

  lmdb::ReadTxn txn(env, log.dbi());
  const lmdb::ReadTxn::Active active(txn);
  const auto last = lmdb::seek(env, txn.cursor(), MDB_LAST);
  Lsn at = oldest_lsn(layout, Lsn{last->key});
  // The newest record's time is wanted even when it has expired.
  at = std::min(at, Lsn{last->key});
  std::int64_t newest_us = 0;
  unsigned bucket = 0;
  const std::uint64_t correlation_seed = MessageHash::scope_seed(identity.hash_seed, MessageHash::kCorrelationScope);
  std::vector<Pending> batch;
  const auto make_room = [&](Lsn lsn) {
    BucketInfo& info = layout.buckets[bucket];
    if (view->buckets[bucket].newest_table().full()) {
      const std::uint64_t slots = next_table_slots(info.tables, info.slots[info.tables - 1]);
      if (info.tables == kMaxTables || slots == info.slots[info.tables - 1]) {
        throw error_at(ErrorCode::full, env.path(),
                       "bucket {} has more records than an index can hold; create a store with more "
                       "buckets and mark them there",
                       info.number);
      }
      files.make_index(info.number, info.tables, slots);
      info.table_lsn[info.tables] = lsn;
      info.slots[info.tables++] = slots;
      publish();
    }
    const std::uint64_t lines = view->generations.back()->lines();
    if (view->generations.back()->count(info.lane) >= FilterGeneration::capacity_of(lines) &&
        layout.generation_count < kMaxGenerations && lines < FilterGeneration::kMaxLines) {
      const GenerationInfo next{layout.next_generation++, next_generation_lines(layout.generation_count, lines), lsn,
                                layout.live_lanes(), 0};
      files.make_filter(next.number, next.lines);
      layout.generations[layout.generation_count++] = next;
      publish();
    }
  };
  const auto insert_batch = [&] {
    for (const Pending& pending : batch) {
      while (bucket + 1 < layout.bucket_count && layout.buckets[bucket + 1].first_lsn <= pending.lsn) ++bucket;
      make_room(pending.lsn);
      const BucketInfo& info = layout.buckets[bucket];
      FilterGeneration& generation = *view->generations.back();
      IndexTable& table = view->buckets[bucket].newest_table();
      generation.add(pending.hash, info.lane);
      const auto offset = [&](Lsn lsn) { return (lsn.value - info.first_lsn.value) / kRecordUnit; };
      table.insert(pending.hash, MessageHash::Of::message, offset(pending.lsn));
      table.count_record();
      if (pending.correlation) {
        generation.add(*pending.correlation, info.lane);
        // One entry for each chain and table; its newest record leads to the others.
        const bool moved =
            pending.previous >= info.first_lsn && table.move(*pending.correlation, MessageHash::Of::correlation,
                                                             offset(pending.previous), offset(pending.lsn));
        if (!moved) table.insert(*pending.correlation, MessageHash::Of::correlation, offset(pending.lsn));
      }
    }
    batch.clear();
  };
  for (auto block = Log::block_at(txn, at); block; block = Log::block_at(txn, block->end())) {
    lmdb::Bytes rest = block->bytes;
    Lsn lsn = block->lsn;
    while (!rest.empty()) {
      const auto [record, hash] = intact_record(rest, lsn);
      newest_us = std::max(newest_us, record.header.time_us());
      const bool is_void = (record.header.flags() & kVoid) != 0;
      if (!is_void && !layout.empty() && lsn >= layout.buckets[0].first_lsn) {
        view->generations.back()->prefetch(hash);
        view->buckets[bucket].newest_table().prefetch(hash);
        Pending pending{hash, lsn, std::nullopt, Lsn{}};
        if (const std::string_view correlation = record.correlation(); !correlation.empty()) {
          pending.correlation.emplace(correlation_seed, correlation);
          pending.previous = Lsn{record.attributes->previous};
        }
        batch.push_back(pending);
        if (batch.size() == kBatch) insert_batch();
      }
      rest = rest.subspan(record.header.bytes());
      lsn.value += record.header.bytes();
    }
  }
  insert_batch();
  view->each_end(
      Lsn{live.header().marks.head.load(std::memory_order_relaxed)},
      View::Overloaded{[](IndexTable& table, unsigned, Lsn end) { table.reach(end); },
                       [](FilterGeneration& generation, unsigned lane, Lsn end) { generation.reach(lane, end); }});
  live.header().marks.last_time_us.store(newest_us, std::memory_order_relaxed);  // Published by `ready`.
}

}  // namespace oncelog::internal
