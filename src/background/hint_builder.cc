#include "background/hint_builder.h"

#include <algorithm>
#include <cassert>

#include "background/read_log.h"
#include "base/error.h"
#include "shared/hints.h"
#include "window/buckets.h"

namespace oncelog::internal {

HintBuilder::HintBuilder(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& live,
                         ViewCache& files, Layout& layout)
    : env_(env),
      log_(log),
      hash_seed_(hash_seed),
      correlation_seed_(MessageHash::scope_seed(hash_seed, MessageHash::kCorrelationScope)),
      live_(live.header()),
      files_(files),
      layout_(layout),
      view_(files.newest()) {}

void HintBuilder::run() {
  lmdb::ReadTxn txn(env_, log_.dbi());
  const lmdb::ReadTxn::Active active(txn);
  const Lsn last_block{lmdb::seek(env_, txn.cursor(), MDB_LAST)->key};
  // The newest record is read even if it has expired, for its time.
  const Lsn from = std::min(oldest_lsn(layout_, last_block), last_block);
  read_log(txn, env_.path(), from, hash_seed_,
           [this](const RecordView& record, const MessageHash& hash, Lsn lsn) { take(record, hash, lsn); });
  insert_batch();
  view_->each_end(
      Lsn{live_.marks.head.load(std::memory_order_relaxed)},
      View::Overloaded{[](IndexTable& table, unsigned, Lsn end) { table.reach(end); },
                       [](FilterGeneration& generation, unsigned lane, Lsn end) { generation.reach(lane, end); }});
  live_.marks.last_time_us.store(newest_us_, std::memory_order_relaxed);  // Published by `ready`.
}

void HintBuilder::take(const RecordView& record, const MessageHash& hash, Lsn lsn) {
  newest_us_ = std::max(newest_us_, record.header.time_us());
  const bool is_void = (record.header.flags() & kVoid) != 0;
  if (is_void || layout_.empty() || lsn < layout_.buckets[0].first_lsn) return;
  view_->generations.back()->prefetch(hash);
  view_->buckets[bucket_].newest_table().prefetch(hash);
  Pending pending{hash, lsn, std::nullopt, Lsn{}};
  if (const std::string_view correlation = record.correlation(); !correlation.empty()) {
    pending.correlation.emplace(correlation_seed_, correlation);
    pending.previous = Lsn{record.attributes->previous};
  }
  batch_.push_back(pending);
  if (batch_.size() == kBatch) insert_batch();
}

void HintBuilder::insert_batch() {
  for (const Pending& pending : batch_) insert(pending);
  batch_.clear();
}

void HintBuilder::insert(const Pending& pending) {
  while (bucket_ + 1 < layout_.bucket_count && layout_.buckets[bucket_ + 1].first_lsn <= pending.lsn) ++bucket_;
  make_room(pending.lsn);
  // One entry for each chain and table: the chain's newest record leads to the others.
  std::optional<ChainHint> chain;
  if (pending.correlation) chain = {*pending.correlation, pending.previous};
  const bool added = add_hints(view_->buckets[bucket_], *view_->generations.back(), pending.hash, pending.lsn,
                               chain ? &*chain : nullptr);
  assert(added);  // make_room saw to it, in tables that nobody else writes to.
  static_cast<void>(added);
}

/// Where the newest table or filter generation is full, adds another one for the records from `lsn` on.
void HintBuilder::make_room(Lsn lsn) {
  BucketInfo& info = layout_.buckets[bucket_];
  if (view_->buckets[bucket_].newest_table().full()) {
    const std::uint64_t slots = next_table_slots(info.tables, info.slots[info.tables - 1]);
    if (info.tables == kMaxTables || slots == info.slots[info.tables - 1]) {
      throw error_at(ErrorCode::full, env_.path(),
                     "bucket {} has more records than an index can hold; create a store with more buckets and mark "
                     "them there",
                     info.number);
    }
    files_.make_index(info.number, info.next_part(), slots);
    info.table_lsn[info.tables] = lsn;
    info.slots[info.tables++] = slots;
    publish();
  }
  const std::uint64_t lines = view_->generations.back()->lines();
  if (view_->generations.back()->count(info.lane) >= FilterGeneration::capacity_of(lines) &&
      layout_.generation_count < kMaxGenerations && lines < FilterGeneration::kMaxLines) {
    const GenerationInfo next{layout_.next_generation++, next_generation_lines(layout_.generation_count, lines), lsn,
                              layout_.live_lanes(), 0};
    files_.make_filter(next.number, next.lines);
    layout_.generations[layout_.generation_count++] = next;
    publish();
  }
}

void HintBuilder::publish() {
  live_.layout.publish(layout_);
  view_ = files_.newest();
}

}  // namespace oncelog::internal
