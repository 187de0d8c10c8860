#include "engine/accept.h"

#include <algorithm>
#include <cassert>

#include "base/error.h"
#include "base/failpoint.h"
#include "shared/hints.h"

namespace oncelog::internal {

void Acceptor::provide(Need need, Owners& owners) {
  switch (need) {
    case Need::none:
    case Need::newer_view:
      return;
    case Need::flush:
      store_.check_not_in_transaction("a mark that finds the ring full");
      store_.flusher().drive(Lsn{store_.durable().value + 1});
      return;
    case Need::bucket:
      store_.check_not_in_transaction("a mark that opens a time bucket");
      store_.upkeep().serve(Upkeep::Demand::bucket);
      return;
    case Need::table:
      store_.check_not_in_transaction("a mark that outgrows the index");
      store_.upkeep().serve(Upkeep::Demand::table);
      return;
    case Need::settle:
      store_.check_not_in_transaction("a decision on an id that another transaction has marked");
      store_.flusher().flush();
      return;
    case Need::owner_check:
      (owners.asked->alive() ? owners.alive : owners.dead).push_back(*owners.asked);
      return;
    case Need::token_epoch:
      lease_admin_.assign_token_epoch();
      return;
    case Need::lease:
      if (owners.reaped) {
        throw error_at(ErrorCode::full, store_.directory(),
                       "{} claims and locks are held, which is all that max_claims allows", store_.header().max_claims);
      }
      lease_admin_.reap();
      owners.reaped = true;
      return;
  }
}

Hold::Hold(OpenedStore& store, Reader& reader, const Glance& glance)
    : store_(store),
      header_(store.header()),
      reader_(reader),
      glance_(glance),
      ring_(store.state().ring()),
      now_us_(store.clock().stamp_us()),
      after_{store},
      lock_(store.state()),
      head_before_(lock_.head()),
      outdated_(header_.layout.epoch() != glance.view.epoch) {}

Hold::~Hold() {
  after_.appended = head() != head_before_;
  after_.bell = after_.appended && wants_bell();
}

Hold::After::~After() {
  if (wake) store.state().leases().wake();
  if (appended) store.flusher().marked(bell);
}

std::int64_t Hold::time_us() const {
  // Relaxed: only written under this mutex.
  return std::clamp(now_us_, header_.marks.last_time_us.load(std::memory_order_relaxed), kMaxTimeUs);
}

Need Hold::prepare(std::size_t bytes, std::uint64_t records, Room room) {
  if (const Need need = prepare_ring(bytes, room); need != Need::none) return need;
  if (const Need need = prepare_bucket(time_us()); need != Need::none) return need;
  return prepare_hints(records);
}

Need Hold::prepare_ring(std::size_t bytes, Room room) {
  // Acquire: pairs with the release by the flusher; it has read what is about to be written over.
  const std::uint64_t flushed = header_.marks.flushed.load(std::memory_order_acquire);
  const std::uint64_t most = ring_.room_bytes(room == Room::reserve);
  if (head().value + bytes <= flushed + most) return Need::none;
  if (bytes <= most) return Need::flush;
  // No flush makes room for what was found small enough before the cap was lowered.
  throw error_at(ErrorCode::invalid_argument, store_.directory(),
                 "a record of {} bytes is too large for the max_bytes that the store was given meanwhile; "
                 "open it with a larger one",
                 bytes);
}

template <typename Step>
Need Hold::change_layout(Step step) {
  Layout next = glance_.view.layout;
  step(next);
  header_.layout.publish(next);
  return Need::newer_view;
}

Need Hold::prepare_bucket(std::int64_t time_us) {
  const Layout& layout = glance_.view.layout;
  const bool full = layout.empty() || time_us >= layout.current().slice_end_us ||
                    BucketRules::slice_is_full(layout, head(), header_.max_bytes.load(std::memory_order_relaxed));
  if (!full) [[likely]]
    return Need::none;
  if (can_open_bucket(layout)) {
    return change_layout([&](Layout& next) {
      open_bucket(next, store_.rules(), head(), time_us, header_.marks.last_time_us.load(std::memory_order_relaxed),
                  store_.clock().stamp_us());
    });
  }
  // With all lanes taken and none to expire (the wall clock runs ahead of the boot clock) the bucket goes on beyond its
  // slice.
  const bool lane_can_be_had =
      free_lane(layout).has_value() || layout.sweeping != 0 ||
      store_.rules().past_retention(layout.buckets[0].newest_us, store_.clock().retention_us());
  return lane_can_be_had ? Need::bucket : Need::none;
}

Need Hold::prepare_hints(std::uint64_t records) {
  const View& view = glance_.view;
  const Layout& layout = view.layout;
  if (view.buckets.back().newest_table().full(records)) {
    if (layout.spare_table_slots != 0) return change_layout([&](Layout& next) { grow_index(next, head()); });
    if (layout.current().tables < kMaxTables) return Need::table;
    throw error_at(ErrorCode::full, store_.directory(),
                   "more ids than the index of one time bucket can grow to hold; create the store with more buckets "
                   "or a larger expected_ids");
  }
  const FilterGeneration& filter = *view.generations.back();
  if (layout.spare_generation_lines > filter.lines() && layout.generation_count < kMaxGenerations &&
      filter.count(layout.current().lane) >= FilterGeneration::capacity_of(filter.lines())) {
    return change_layout([&](Layout& next) { grow_filter(next, head()); });
  }
  return Need::none;
}

void Hold::refuse_damaged_index() const {
  throw error_at(ErrorCode::corrupt, store_.directory(),
                 "the index in shared memory is damaged, and takes no more ids; close the store in every process, "
                 "then rebuild it with oncelog repair --hints");
}

/// The order is the promise: bytes, filter bits, index slot, head. A death after any of them leaves hints to a record
/// that does not exist, and readers that see the head see all of it.
Lsn Hold::append(const RecordDraft& draft, const MessageHash& hash, const ChainEnd* chain) {
  const View::Bucket& bucket = glance_.view.buckets.back();
  FilterGeneration& filter = *glance_.view.generations.back();
  const std::int64_t time_us = this->time_us();
  const Lsn lsn = head();
  const std::size_t bytes = draft.bytes();
  // prepare() saw the room, and `flushed` only grows.
  assert(lsn.value + bytes <= header_.marks.flushed.load(std::memory_order_relaxed) + ring_.bytes());
  RecordBuffer buffer;
  std::span<std::uint64_t> room(buffer);
  if (bytes > sizeof buffer) [[unlikely]] {
    reader_.scratch.resize(bytes / kRecordUnit);
    room = reader_.scratch;
  }
  std::span<const std::uint64_t> record;
  if (chain == nullptr || !chain->found) {
    record = encode_record(room, draft, lsn, time_us);
  } else {
    RecordDraft linked = draft;
    linked.attributes.previous = chain->found->lsn.value;
    record = encode_record(room, linked, lsn, time_us);
  }
  ring_.write(lsn, record);
  failpoint();
  // Two entries for each chain and table: the one of the last record but one moves on to this one. So the last one's
  // stays, should this record never be accepted.
  std::optional<ChainHint> chain_hint;
  if (chain != nullptr) chain_hint = {chain->probe.hash, Lsn{chain->found ? chain->found->previous : 0}};
  // There was room, unless the file is damaged: then the record must not be accepted, as no one would find it.
  if (!add_hints(bucket, filter, hash, lsn, chain_hint ? &*chain_hint : nullptr)) [[unlikely]]
    refuse_damaged_index();
  HostCounters::add(header_.counters.records, 1);
  header_.marks.last_time_us.store(time_us, std::memory_order_release);  // Pairs with the acquire in Upkeep.
  // Release: pairs with the acquires of head by readers, producers and the flusher.
  const Lsn end{lsn.value + record.size_bytes()};
  header_.marks.head.store(end.value, std::memory_order_release);
  failpoint();
  // Last: a death before them costs a rebuild, a hint that says too much would cost an id.
  bucket.newest_table().reach(end);
  filter.reach(bucket.info.lane, end);
  return lsn;
}

/// Whether this process's background should have a round now: a quarter of what may wait does, or a table or filter
/// has reached its plan.
bool Hold::wants_bell() const {
  const View& view = glance_.view;
  // Relaxed: a hint, under the mutex.
  const std::uint64_t flushed = header_.marks.flushed.load(std::memory_order_relaxed);
  const std::uint64_t enough = ring_.bell_bytes();
  if (head().value >= flushed + enough && head_before_.value < flushed + enough) return true;
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

}  // namespace oncelog::internal
