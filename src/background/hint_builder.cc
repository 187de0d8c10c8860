#include "background/hint_builder.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/error.h"
#include "log/intact_record.h"
#include "window/buckets.h"

namespace oncelog::internal {

std::pair<RecordView, MessageHash> intact_record_of_log(const lmdb::Env& env, lmdb::Bytes bytes, Lsn lsn,
                                                        std::uint64_t hash_seed) {
  if (const auto found = intact_record(bytes, lsn, hash_seed)) return *found;
  throw error_at(ErrorCode::corrupt, env.path(), "the record at LSN {} of data.mdb is damaged", lsn.value);
}

void fill_hints(const lmdb::Env& env, const Log& log, const StoreIdentity& identity, const SharedState& live,
                ViewCache& files, Layout& layout) {
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
      const auto [record, hash] = intact_record_of_log(env, rest, lsn, identity.hash_seed);
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
