#include "background/hint_builder.h"

#include <algorithm>
#include <utility>

#include "background/pieces.h"
#include "background/read_log.h"
#include "base/error.h"
#include "base/plain_memory.h"
#include "window/buckets.h"
#include "window/index_slots.h"

namespace oncelog::internal {
namespace {

// With less to read or to write for each thread, starting one costs more than it gains.
constexpr std::uint64_t kLeastBytesAThread = std::uint64_t{4} << 20;
// From which it is guessed how many records a part of the log has.
constexpr std::uint64_t kUsualRecordBytes = 64;

/// Whether so many records change so few pages of a file of `bytes` that writing all of them takes longer.
bool is_sparse(std::uint64_t records, std::uint64_t bytes) {
  return records < bytes / 4096;
}

}  // namespace

HintBuilder::HintBuilder(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& live,
                         ViewCache& files, Layout& layout, unsigned threads)
    : env_(env),
      log_(log),
      hash_seed_(hash_seed),
      live_(live.header()),
      files_(files),
      layout_(layout),
      threads_(std::clamp(threads, 1U, kMostThreads)),
      view_(files.newest()) {}

void HintBuilder::run(const ReadFrom& from) {
  lmdb::ReadTxn txn(env_, log_.dbi());
  const lmdb::ReadTxn::Active active(txn);
  const Lsn head{live_.marks.head.load(std::memory_order_relaxed)};  // No other process uses it yet.
  for (unsigned i = 0; i < layout_.bucket_count; ++i) {
    if (from[i] <= layout_.buckets[i].first_lsn) continue;
    filter_has_bits_ = true;
    last_kept_ = i;
  }
  for (unsigned i = 0; i < layout_.bucket_count; ++i) {
    const Lsn first = layout_.buckets[i].first_lsn;
    const Part part{i, std::max(first, from[i]), view_->bucket_end(i, head), from[i] > first};
    if (part.from < part.to) build(txn, part);
  }
  write_columns();
  note_newest_time(txn);
  const auto reach = [](auto& hints, Lsn reached, Lsn end, auto... lane) {
    if (reached < end) hints.reach(lane..., end);  // What is kept and has all of its records is not written to.
  };
  view_->each_end(head,
                  View::Overloaded{[&](IndexTable& table, unsigned, Lsn end) { reach(table, table.reached(), end); },
                                   [&](FilterGeneration& filter, unsigned lane, Lsn end) {
                                     reach(filter, filter.reached(lane), end, lane);
                                   }});
}

/// The newest record is read even if it has expired.
void HintBuilder::note_newest_time(const lmdb::ReadTxn& txn) {
  const Lsn last_block{lmdb::seek(env_, txn.cursor(), MDB_LAST)->key};
  read_log(txn, env_.path(), last_block, hash_seed_, [this](const RecordView& record, const MessageHash&, Lsn) {
    newest_us_ = std::max(newest_us_, record.header.time_us());
  });
  live_.marks.last_time_us.store(newest_us_, std::memory_order_relaxed);  // Published by `ready`.
}

void HintBuilder::build(const lmdb::ReadTxn& txn, const Part& part) {
  for (;;) {
    const Outcome outcome = fill(txn, part);
    if (outcome.fits()) return;
    if (!outcome.table_fits) make_table(part, outcome.needed.entries);
    if (!outcome.filter_fits) make_generation(part, outcome.needed.ids);
    live_.layout.publish(layout_);
    view_ = files_.newest();
  }
}

/// What was added counts only if all of it fits.
HintBuilder::Outcome HintBuilder::fill(const lmdb::ReadTxn& txn, const Part& part) {
  const BucketInfo& info = layout_.buckets[part.bucket];
  IndexTable& table = view_->buckets[part.bucket].newest_table();
  FilterGeneration& filter = *view_->generations.back();
  const std::uint64_t records = part.bytes() / kUsualRecordBytes;
  const std::uint64_t table_bytes = table.slots() * sizeof(Slot);

  const bool fill_memory = !part.kept && !is_sparse(records, table_bytes);
  const auto memory = fill_memory ? PlainMemory::zeroed(table_bytes) : std::nullopt;
  const bool fill_column = !part.kept && !is_sparse(records, filter.lines() * FilterGeneration::kLineBytes);
  auto column = fill_column ? FilterColumn::empty(info.lane, filter.lines()) : std::nullopt;
  auto* const words = memory ? reinterpret_cast<std::atomic<std::uint64_t>*>(memory->data()) : table.words();
  const std::uint64_t entries_before = part.kept ? table.count() : 0;
  const std::uint64_t capacity = IndexTable::capacity_of(table.slots());
  BucketFill bucket({txn, env_.path(), hash_seed_, part.from, part.to},
                    {info.first_lsn,
                     {words, table.slots()},
                     capacity - std::min(entries_before, capacity),
                     {&filter, info.lane, column ? &*column : nullptr}});
  bucket.run(threads_for(part.bytes()));
  newest_us_ = std::max(newest_us_, bucket.needed().newest_us);
  if (!column) filter_has_bits_ = true;
  const bool overfull = filter.count(info.lane) + bucket.needed().ids > FilterGeneration::capacity_of(filter.lines());
  const Outcome outcome{bucket.needed(), bucket.fits(), !overfull || !may_make_generation(part)};
  if (!outcome.fits()) return outcome;

  if (memory) write_table(info, {memory->data(), memory->size()});
  if (column) {
    if (!columns_) columns_.emplace(files_.filter_path(layout_.newest_generation().number), filter.lines());
    columns_->keep(std::move(*column));
  }
  table.note_filled(entries_before + outcome.needed.entries,
                    (part.kept ? table.records() : 0) + outcome.needed.records);
  filter.count_ids(info.lane, outcome.needed.ids);
  return outcome;
}

/// A generation has all records from its first one on: so there is none before hints that are kept.
bool HintBuilder::may_make_generation(const Part& part) const {
  return part.bucket >= last_kept_ && layout_.generation_count < kMaxGenerations &&
         layout_.newest_generation().lines < FilterGeneration::kMaxLines;
}

/// Makes a table for what this part of the log has turned out to have.
void HintBuilder::make_table(const Part& part, std::uint64_t entries) {
  BucketInfo& info = layout_.buckets[part.bucket];
  const std::uint64_t slots = IndexTable::slots_for(entries);
  if (slots > kMaxSlots || info.tables == kMaxTables) {
    throw error_at(ErrorCode::full, env_.path(),
                   "bucket {} has more records than an index can hold; create a store with more buckets and mark "
                   "them there",
                   info.number);
  }
  files_.make_index(info.number, info.next_part(), slots);
  if (part.kept) {
    info.table_lsn[info.tables] = part.from;
    info.slots[info.tables++] = slots;
  } else {
    put_in_place(info, slots);
  }
}

/// The same for a generation, which the later buckets use as well.
void HintBuilder::make_generation(const Part& part, std::uint64_t ids) {
  write_columns();
  // Beside kept ids these may be few, or none.
  const std::uint64_t lines = std::max(FilterGeneration::lines_for(ids), layout_.newest_generation().lines);
  const GenerationInfo next{layout_.next_generation++, lines, part.from, layout_.live_lanes(), 0};
  files_.make_filter(next.number, next.lines);
  layout_.generations[layout_.generation_count++] = next;
  filter_has_bits_ = false;
}

void HintBuilder::write_table(const BucketInfo& bucket, std::span<const std::byte> slots) const {
  constexpr std::uint64_t kPieceBytes = std::uint64_t{4} << 20;
  const auto path = files_.index_path(bucket.number, bucket.next_part() - 1);
  in_pieces(threads_for(slots.size()), "rebuilding the index", slots.size(), kPieceBytes, [&] {
    return [&](std::uint64_t first, std::uint64_t count) {
      MappedFile::write(path, kFileHeaderBytes + first, slots.subspan(first, count));
    };
  });
}

void HintBuilder::write_columns() {
  if (!columns_) return;
  columns_->write(threads_for(columns_->bytes()), filter_has_bits_);
  columns_.reset();
}

unsigned HintBuilder::threads_for(std::uint64_t bytes) const {
  return static_cast<unsigned>(std::clamp<std::uint64_t>(bytes / kLeastBytesAThread, 1, threads_));
}

}  // namespace oncelog::internal
