#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/failpoint.h"
#include "engine/decide.h"
#include "shared/argument_checks.h"

namespace oncelog::internal {
namespace {

/// The Error of a wait for the disk, with what became of the ids that were waited for.
Error with_outcome(const Error& error, const std::string& outcome) {
  return Error(error.code(), fmt::format("{}. {}", error.what(), outcome), error.path());
}

}  // namespace

Marked Engine::mark(ScopeKey scope, std::string_view id, const Attributes& attributes, Ack ack) {
  check_writable();
  check_may_wait(ack);
  check_id(id);
  const bool with_attributes = MarkPolicy::keeps(attributes) || attributes.sent_at.has_value();
  if (with_attributes) check_attributes(attributes, live_->ring());
  const Probe probe = probe_of(scope, id);
  Reader& mine = reader();
  const SampledTime time(mine.counters, Timed::mark);
  const std::span<const Attributes> given(&attributes, with_attributes ? 1 : 0);
  MarkPolicy policy{*this, mine, std::span(&probe, 1), given, nullptr};
  const Marked marked = decide_one(mine, probe, with_attributes ? &attributes : nullptr, policy);
  mine.counters.count(scope.number, event_of(marked.verdict));
  if (ack != Ack::disk || marked.lsn.value == 0) return marked;
  try {
    wait(marked.lsn);
  } catch (const Error& error) {
    if (durable() > marked.lsn) return marked;  // By another process's flush.
    const bool taken_back = marked.verdict == Verdict::fresh && take_back({&probe, 1}, {&marked, 1}) == 0;
    if (!taken_back && durable() > marked.lsn) return marked;
    if (marked.verdict != Verdict::fresh) throw;
    throw with_outcome(error, taken_back ? "The id is not marked"
                                         : "The id stands as marked nevertheless, as contains() shows; it is on disk "
                                           "once a later commit succeeds");
  }
  return marked;
}

void Engine::mark(ScopeKey scope, std::span<const std::string_view> ids, std::span<const Attributes> attributes,
                  std::span<Marked> out, Ack ack) {
  check_writable();
  check_may_wait(ack);
  for (const std::string_view id : ids) check_id(id);
  for (const Attributes& given : attributes) check_attributes(given, live_->ring());
  Reader& mine = reader();
  std::array<Probe, kChunk> probes;
  std::array<std::optional<Found>, kChunk> found;
  std::ranges::fill(out.first(ids.size()), Marked{});
  Lsn last;
  bool decided = false;
  try {
    for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
      const std::size_t count = std::min(kChunk, ids.size() - begin);
      make_probes(mine, scope, ids.subspan(begin, count), probes);
      const Chunk chunk{std::span(probes).first(count),
                        attributes.empty() ? attributes : attributes.subspan(begin, count),
                        std::span(found).first(count), out.subspan(begin, count)};
      MarkPolicy policy{*this, mine, chunk.probes, chunk.attributes, chunk.out.data()};
      decide(mine, chunk, policy);
      for (const Marked& marked : chunk.out) {
        mine.counters.count(scope.number, event_of(marked.verdict));
        last = std::max(last, marked.lsn);
      }
    }
    decided = true;
    if (ack == Ack::disk && last.value != 0) wait(last);
  } catch (const Error& error) {
    // What was to be on disk is not marked. Marks of other kinds stand, those of the first ids.
    if (ack != Ack::disk) throw;
    if (decided && durable() > last) return;  // By another process's flush.
    std::size_t standing = 0;
    for (std::size_t begin = 0; begin < ids.size(); begin += kChunk) {
      const std::size_t count = std::min(kChunk, ids.size() - begin);
      make_probes(mine, scope, ids.subspan(begin, count), probes);
      standing += take_back(std::span(probes).first(count), out.subspan(begin, count));
    }
    throw with_outcome(error,
                       standing == 0
                           ? std::string("None of the ids is marked that was not before")
                           : fmt::format("{} of the ids stand as marked nevertheless, as contains() shows", standing));
  }
}

void Engine::wait_for_standing(Lsn lsn) {
  try {
    wait(lsn);
  } catch (const Error& error) {
    if (durable() > lsn) return;
    throw with_outcome(error, "What was done stands nevertheless; it is on disk once a later commit succeeds");
  }
}

std::size_t Engine::take_back(std::span<const Probe> probes, std::span<const Marked> out) {
  std::size_t standing = 0;
  for (std::size_t i = 0; i < probes.size(); ++i) {
    if (out[i].verdict != Verdict::fresh || out[i].lsn.value == 0) continue;  // Nothing was accepted.
    try {
      if (!take_back(probes[i], out[i].lsn)) ++standing;
    } catch (const Error&) {  // The caller throws what made it ask.
      ++standing;
    }
  }
  return standing;
}

/// Notes that the id is forgotten, if the record at `lsn` is the newest word on it; false when that cannot
/// be noted. Whoever forgot the id meanwhile has done it already. The disk is what fails: nothing is waited for,
/// and where room has to be made for the note there is none.
bool Engine::take_back(const Probe& probe, Lsn lsn) {
  SharedHeader& live = live_->header();
  Reader& mine = reader();
  for (;;) {
    const View& view = mine.view();
    const std::int64_t now_us = clock_->stamp_us();
    const StoreLock lock(*live_);
    if (live.layout.epoch() != view.epoch) continue;
    bool passed = false;
    const auto newest = mine.look_again(view, probe, lsn, passed);
    if (passed) return false;  // On disk meanwhile, and gone from the ring.
    if (!newest || newest->lsn != lsn) return true;
    const std::int64_t time_us =
        std::clamp(now_us, live.marks.last_time_us.load(std::memory_order_relaxed), kMaxTimeUs);
    const RecordDraft draft{probe.scope, probe.id, probe.hash.digest(), kForgotten};
    const Need need = prepare(view, time_us, draft.bytes(), 1, true);
    if (need == Need::newer_view) continue;
    if (need != Need::none) return false;
    append(mine, view, draft, probe.hash, time_us, nullptr);
    return true;
  }
}

/// The duplicates of a chunk again: those with another payload are conflicts, those from the same source redeliveries.
void Engine::compare_attributes(Reader& reader, const Chunk& chunk) const {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < chunk.probes.size(); ++i) {
    const Attributes& given = chunk.attributes[i];
    Marked& marked = chunk.out[i];
    if (marked.verdict != Verdict::duplicate || (given.fingerprint == 0 && given.source.name.empty())) continue;
    if (!reader.copy(marked.lsn, bytes)) continue;  // Expired meanwhile.
    const auto record = decode_record(bytes);
    if (!record || !record->attributes) continue;
    const StoredAttributes& stored = *record->attributes;
    if (given.fingerprint != 0 && stored.fingerprint != 0 && given.fingerprint != stored.fingerprint) {
      marked.verdict = Verdict::conflict;
    }
    marked.redelivered = !given.source.name.empty() && record->source_name() == given.source.name &&
                         stored.source_partition == given.source.partition &&
                         stored.source_offset == given.source.offset;
  }
}

bool Engine::forget(ScopeKey scope, std::string_view id, Ack ack) {
  check_writable();
  check_may_wait(ack);
  check_id(id);
  SharedHeader& live = live_->header();
  Reader& mine = reader();
  const Probe probe = probe_of(scope, id);
  Owners owners;
  Lsn noted;
  while (noted.value == 0) {
    // Acquire: pairs with the release in append. Before the view, as in decide.
    const Lsn looked_at{live.marks.head.load(std::memory_order_acquire)};
    const View& view = mine.view();
    std::optional<Found> newest = mine.look(view, probe);
    const std::int64_t now_us = clock_->stamp_us();
    Need need = Need::none;
    bool bell = false;
    {
      flusher_->throw_if_failed();
      const StoreLock lock(*live_);
      const Lsn head_now{live.marks.head.load(std::memory_order_relaxed)};  // Relaxed: only written under this lock.
      if (live.layout.epoch() != view.epoch) {
        need = Need::newer_view;
      } else {
        bool passed = false;
        if (head_now != looked_at) {
          if (const auto newer = mine.look_again(view, probe, looked_at, passed)) newest = newer;
        }
        if (passed) {
          need = Need::newer_view;
        } else if (newest && newest->uncommitted()) {
          need = Need::settle;  // Once its transaction has ended, or is found dead, it is a message or nothing.
        } else if (!newest || !is_live(*newest)) {
          return false;
        } else {
          const std::int64_t time_us =
              std::clamp(now_us, live.marks.last_time_us.load(std::memory_order_relaxed), kMaxTimeUs);
          const RecordDraft draft{probe.scope, probe.id, probe.hash.digest(), kForgotten};
          need = prepare(view, time_us, draft.bytes());
          if (need == Need::none) {
            noted = append(mine, view, draft, probe.hash, time_us, nullptr);
            bell = wants_bell(view, head_now);
          }
        }
      }
    }
    if (noted.value != 0) flusher_->marked(bell);
    meet(need, owners);
  }
  if (ack == Ack::disk) wait_for_standing(noted);
  return true;
}

/// Makes sure that records of this time and size can be appended; under the store's mutex, with the layout's own view.
/// Changes the layout itself where all that it takes is ready.
Engine::Need Engine::prepare(const View& view, std::int64_t time_us, std::size_t bytes, std::uint64_t records,
                             bool reserved) {
  SharedHeader& live = live_->header();
  const Ring ring = live_->ring();
  const std::uint64_t head = live.marks.head.load(std::memory_order_relaxed);  // Relaxed: only written under this lock.
  // Acquire: pairs with the release by the flusher; it has read what is about to be written over.
  const std::uint64_t flushed = live.marks.flushed.load(std::memory_order_acquire);
  const std::uint64_t room = ring.room_bytes(reserved);
  if (head + bytes > flushed + room) {
    if (bytes <= room) return Need::flush;
    // No flush makes room for what check_attributes found small enough before the cap was lowered.
    throw error_at(ErrorCode::invalid_argument, directory_,
                   "a record of {} bytes is too large for the max_bytes that the store was given meanwhile; "
                   "open it with a larger one",
                   bytes);
  }

  const Layout& layout = view.layout;
  const auto change = [&](auto&& step) {
    Layout next = layout;
    step(next);
    live.layout.publish(next);
    return Need::newer_view;
  };
  if (layout.empty() || time_us >= layout.current().slice_end_us ||
      BucketRules::slice_is_full(layout, Lsn{head}, live.max_bytes.load(std::memory_order_relaxed))) {
    if (can_open_bucket(layout)) {
      return change([&](Layout& next) {
        open_bucket(next, rules_, Lsn{head}, time_us, live.marks.last_time_us.load(std::memory_order_relaxed),
                    clock_->stamp_us());
      });
    }
    // With all lanes taken and none to expire (the wall clock runs ahead of the boot clock) the bucket goes on beyond
    // its slice.
    const bool lane_can_be_had = free_lane(layout).has_value() || layout.sweeping != 0 ||
                                 rules_.past_retention(layout.buckets[0].newest_us, clock_->retention_us());
    if (lane_can_be_had) return Need::bucket;
  }
  if (view.buckets.back().newest_table().full(records)) {
    if (layout.spare_table_slots != 0) return change([&](Layout& next) { grow_index(next, Lsn{head}); });
    if (layout.current().tables < kMaxTables) return Need::table;
    throw error_at(ErrorCode::full, directory_,
                   "more ids than the index of one time bucket can grow to hold; create the store with "
                   "more buckets or a larger "
                   "expected_ids");
  }
  const FilterGeneration& filter = *view.generations.back();
  if (layout.spare_generation_lines > filter.lines() && layout.generation_count < kMaxGenerations &&
      filter.count(layout.current().lane) >= FilterGeneration::capacity_of(filter.lines())) {
    return change([&](Layout& next) { grow_filter(next, Lsn{head}); });
  }
  return Need::none;
}

void Engine::refuse_damaged_index() const {
  throw error_at(ErrorCode::corrupt, directory_,
                 "the index in shared memory is damaged, and takes no more ids; close the store in every "
                 "process, then have it made again with oncelog repair --hints");
}

/// Accepts a record. The order is the promise: bytes, filter bits, index slot, head; a death after any of them leaves
/// hints to a record that does not exist, and readers that see the head see all of it.
Lsn Engine::append(Reader& reader, const View& view, const RecordDraft& draft, const MessageHash& hash,
                   std::int64_t time_us, const ChainEnd* chain) {
  SharedHeader& live = live_->header();
  const View::Bucket& bucket = view.buckets.back();
  IndexTable& table = bucket.newest_table();
  FilterGeneration& filter = *view.generations.back();
  const Lsn lsn{live.marks.head.load(std::memory_order_relaxed)};  // Relaxed: only written under this lock.
  const auto offset = [&](Lsn of) { return (of.value - bucket.info.first_lsn.value) / kRecordUnit; };
  const std::size_t bytes = draft.bytes();
  RecordBuffer buffer;
  std::span<std::uint64_t> room(buffer);
  if (bytes > sizeof buffer) [[unlikely]] {
    reader.scratch.resize(bytes / kRecordUnit);
    room = reader.scratch;
  }
  std::span<const std::uint64_t> record;
  if (chain == nullptr || !chain->found) {
    record = encode_record(room, draft, lsn, time_us);
  } else {
    RecordDraft linked = draft;
    linked.attributes.previous = chain->found->lsn.value;
    record = encode_record(room, linked, lsn, time_us);
  }
  live_->ring().write(lsn, record);
  failpoint();
  filter.add(hash, bucket.info.lane);
  failpoint();
  // There was room (full), unless the file is damaged: then the record must not be accepted, as no one would find it.
  if (!table.insert(hash, MessageHash::Of::message, offset(lsn))) [[unlikely]]
    refuse_damaged_index();
  failpoint();
  if (chain != nullptr) {
    filter.add(chain->probe.hash, bucket.info.lane);
    // Two entries for each chain and table: the one of the last record but one moves on to this one. So the last one's
    // is there, should this record never be accepted.
    const std::uint64_t last_but_one = chain->found ? chain->found->previous : 0;
    const bool moved =
        last_but_one >= bucket.info.first_lsn.value && last_but_one != 0 &&
        table.move(chain->probe.hash, MessageHash::Of::correlation, offset(Lsn{last_but_one}), offset(lsn));
    if (!moved && !table.insert(chain->probe.hash, MessageHash::Of::correlation, offset(lsn))) refuse_damaged_index();
    failpoint();
  }
  table.count_record();
  HostCounters::add(live.counters.records, 1);
  live.marks.last_time_us.store(time_us, std::memory_order_release);  // Pairs with the acquire in Upkeep.
  // Release: pairs with the acquires of head by readers, producers and the flusher.
  const Lsn end{lsn.value + record.size_bytes()};
  live.marks.head.store(end.value, std::memory_order_release);
  failpoint();
  // Last: a death before them costs a rebuild, a hint that says too much would cost an id.
  table.reach(end);
  filter.reach(bucket.info.lane, end);
  return lsn;
}

/// Whether this process's background should have a round now: a quarter of what may wait does, or a table or filter
/// has reached its plan.
bool Engine::wants_bell(const View& view, Lsn head_before) const {
  const SharedHeader& live = live_->header();
  const std::uint64_t head = live.marks.head.load(std::memory_order_relaxed);  // Relaxed: hints, under the lock.
  const std::uint64_t flushed = live.marks.flushed.load(std::memory_order_relaxed);
  const std::uint64_t enough = live_->ring().bell_bytes();
  if (head >= flushed + enough && head_before.value < flushed + enough) return true;
  if (view.buckets.empty()) return false;
  const auto crossed = [&](std::uint64_t count, std::uint64_t plan) {
    return count >= plan && count < plan + 2 * kChunk;
  };
  const IndexTable& table = view.buckets.back().newest_table();
  if (view.layout.spare_table_slots == 0 && crossed(table.count(), IndexTable::planned_of(table.slots()))) return true;
  const FilterGeneration& filter = *view.generations.back();
  return view.layout.spare_generation_lines == 0 &&
         crossed(filter.count(view.layout.current().lane), FilterGeneration::capacity_of(filter.lines()));
}

void Engine::meet(Need need, Owners& owners) {
  switch (need) {
    case Need::none:
    case Need::newer_view:
      return;
    case Need::flush:
      check_not_in_transaction("a mark that finds the ring full");
      flusher_->drive(Lsn{durable().value + 1});
      return;
    case Need::bucket:
      check_not_in_transaction("a mark that opens a time bucket");
      upkeep_->serve(Upkeep::Demand::bucket);
      return;
    case Need::table:
      check_not_in_transaction("a mark that outgrows the index");
      upkeep_->serve(Upkeep::Demand::table);
      return;
    case Need::settle:
      check_not_in_transaction("a decision on an id that another transaction has marked");
      flusher_->flush();
      return;
    case Need::owner_check:
      (owners.asked->alive() ? owners.alive : owners.dead).push_back(*owners.asked);
      return;
    case Need::token_epoch:
      assign_token_epoch();
      return;
    case Need::lease:
      if (owners.reaped) {
        throw error_at(ErrorCode::full, directory_, "{} claims and locks are held, which is all that max_claims allows",
                       live_->header().max_claims);
      }
      reap_claims();
      owners.reaped = true;
      return;
  }
}

}  // namespace oncelog::internal
