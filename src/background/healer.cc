#include "background/healer.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"
#include "log/intact_record.h"
#include "shared/layout_update.h"
#include "window/buckets.h"

namespace oncelog::internal {

Healer::Healer(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& state,
               ViewCache& views)
    : env_(env),
      log_(log),
      hash_seed_(hash_seed),
      correlation_seed_(MessageHash::scope_seed(hash_seed, MessageHash::kCorrelationScope)),
      state_(state),
      live_(state.header()),
      views_(views) {}

bool Healer::refuses(std::uint64_t bucket) const {
  const std::lock_guard guard(refused_mutex_);
  return refused_.contains(bucket);
}

bool Healer::refuses_filter(const View& view) const {
  const std::lock_guard guard(refused_mutex_);
  return std::ranges::any_of(view.buckets,
                             [&](const View::Bucket& bucket) { return refused_.contains(bucket.info.number); });
}

TooSmall Healer::too_small() const {
  const std::lock_guard guard(refused_mutex_);
  return too_small_;
}

bool Healer::table_unallocated(const View& view) const {
  return view.built_table && view.built_table->allocated() != 0 && !refuses_table(view);
}

bool Healer::generation_unallocated(const View& view) const {
  return view.built_generation && view.built_generation->allocated() != 0 && !refuses_generation(view);
}

/// Whether it is time to look how others get on with what this process does not go on with.
bool Healer::deserted_at(const View& view, std::int64_t now_us) const {
  return (refuses_table(view) || refuses_generation(view)) && now_us >= look_from_us_.load(std::memory_order_relaxed);
}

/// Gives up what this process does not go on with, because a record is damaged, once it has not come any further for
/// kDesertedUs: the process that began it has died.
void Healer::watch_deserted(const View& view, std::int64_t now_us) {
  if (!deserted_at(view, now_us)) return;
  look_from_us_.store(now_us + kDesertedUs, std::memory_order_relaxed);
  const bool table = refuses_table(view);
  const bool generation = refuses_generation(view);
  Progress now;
  if (table) {
    now.bucket = view.layout.building_bucket;
    now.table = view.layout.building_slots;
    now.allocated += view.built_table->allocated();
    now.table_copied = view.built_table->copied();
  }
  if (generation) {
    now.generation = view.layout.next_generation;
    now.allocated += view.built_generation->allocated();
    now.filter_copied = view.built_generation->copied();
  }
  if (std::exchange(seen_, now) != now) return;
  give_up(table, generation);
}

bool Healer::allocate_table(const View& view) {
  if (refuses_table(view)) return false;
  try {
    return views_.allocate_built_table(view);
  } catch (const Error&) {
    give_up(true, false);
    throw;
  }
}

bool Healer::allocate_generation(const View& view) {
  if (refuses_generation(view)) return false;
  try {
    return views_.allocate_built_generation(view);
  } catch (const Error&) {
    give_up(false, true);
    throw;
  }
}

void Healer::give_up(bool table, bool generation) {
  update_layout(state_, [&](Layout& layout) {
    if (table) end_building(layout);
    if (generation) end_building_generation(layout);
    return table || generation;
  });
}

bool Healer::step(std::int64_t now_us) {
  watch_deserted(*views_.newest(), now_us);
  const auto view = views_.newest();
  if (view->built_is_lost) {
    give_up(true, true);
    throw error_at(ErrorCode::io, env_.path(), "a file of hints that was being filled is missing");
  }
  const Work work = next_work(*view);
  if (!work.any()) return false;
  const bool left = (work.table && work.table->range.left()) || (work.filter && work.filter->range.left());
  if (!left) return publish(work) && due(*views_.newest(), now_us);
  if (!adopt_lanes(*view, work)) copy(*view, work);
  return due(*views_.newest(), now_us);
}

/// Not what waits for the flusher. What is complete comes first. Two copies meet where the one that is behind has come
/// to the other, so that no record is read twice; only where the filter has more to read before that than the table
/// has in all, the table goes first.
Healer::Work Healer::next_work(const View& view) const {
  // Acquire: pairs with the release by whoever has committed; a snapshot taken afterwards has what is below.
  const Lsn flushed{live_.marks.flushed.load(std::memory_order_acquire)};
  auto table = next_table(view, flushed);
  if (table && !table->range.left()) return {std::move(table), std::nullopt};
  auto filter = next_filter(view, flushed);
  if (filter && !filter->range.left()) return {std::nullopt, std::move(filter)};
  if (table && filter && filter->range.from < table->range.from) {
    const bool near = table->range.from.value - filter->range.from.value <= table->range.bytes();
    if (near) {
      filter->range.to = std::min(filter->range.to, table->range.from);
      table.reset();
    } else {
      filter.reset();
    }
  }
  return {std::move(table), std::move(filter)};
}

std::optional<TableCopy> Healer::next_table(const View& view, Lsn flushed) const {
  const auto can_go_on = [&](const std::optional<TableCopy>& copy) {
    return copy && (copy->range.left() || copy->range.ends) && !refuses(copy->bucket);
  };
  if (auto built = TableCopy::into_built(view, flushed); can_go_on(built)) return built;
  const TooSmall small = too_small();
  for (unsigned i = 0; i < view.buckets.size(); ++i) {
    auto newest = TableCopy::into_newest(view, i, flushed);
    if (can_go_on(newest) && !small.is(newest->bucket, newest->table->slots())) return newest;
  }
  return std::nullopt;
}

std::optional<FilterCopy> Healer::next_filter(const View& view, Lsn flushed) const {
  if (refuses_filter(view)) return std::nullopt;
  auto copy = FilterCopy::into_built(view, flushed);
  if (!copy) copy = FilterCopy::into_newest(view, flushed);
  if (copy && !copy->range.left() && !copy->range.ends) copy.reset();
  return copy;
}

bool Healer::publish(const Work& work) {
  failpoint();
  const bool published = update_layout(state_, [&](Layout& layout) REQUIRES(kStoreMutex) {
    const Lsn head{live_.marks.head.load(std::memory_order_relaxed)};  // Relaxed: written only under this mutex.
    return work.table ? work.table->publish(layout, head) : work.filter->publish(layout, head);
  });
  failpoint();
  return published;
}

/// Before bits are set in a lane, the layout says so, for the lane to be swept. Returns whether it had to.
bool Healer::adopt_lanes(const View& view, const Work& work) {
  if (!work.filter || work.filter->building) return false;
  if ((view.live_lanes & ~view.layout.newest_generation().lanes) == 0) return false;
  update_layout(state_, [](Layout& layout) {
    internal::adopt_lanes(layout);
    return true;
  });
  failpoint();
  return true;
}

void Healer::copy(const View& view, const Work& work) {
  const CopyRange range = work.table ? work.table->range : work.filter->range;
  if (!txn_) txn_.emplace(env_, log_.dbi());
  const lmdb::ReadTxn::Active active(*txn_);
  copied_ = 0;
  batch_.clear();  // An error may have left some.
  const auto enough = [&](Lsn at) REQUIRES(kWriterGate) {
    return copied_ >= kRecordsAStep || at.value - range.from.value >= kBytesAStep;
  };
  for (Lsn at = range.from; at < range.to && !enough(at);) {
    const auto block = Log::block_at(*txn_, at);
    const bool any = block && block->lsn < range.to;
    if (any && !copy_block(view, work, *block, range)) return;
    at = any ? std::min(block->end(), range.to) : range.to;
    note_copied(work, at);
    failpoint();
  }
}

/// Everything below `end` is copied.
void Healer::note_copied(const Work& work, Lsn end) {
  if (work.table) work.table->table->note_copied(end);
  if (work.filter && work.filter->range.from < end) {
    work.filter->filter->note_copied(std::min(end, work.filter->range.to));
  }
}

/// Returns whether all records of the block that are in the range have been copied.
bool Healer::copy_block(const View& view, const Work& work, const Log::Block& block, const CopyRange& range) {
  bool whole = true;
  const auto take = [&](const RecordView& record, const MessageHash& hash, Lsn lsn) {
    assume_held(kWriterGate);
    if (lsn >= range.to) return false;
    // Void ones too: where one is the newest of a chain, its entry is the one that leads to the others.
    if (lsn < range.from) return true;
    add_to_batch(work, record, hash, lsn);
    if (batch_.size() == kBatch) whole = copy_batch(view, work);
    return whole;
  };
  // A block may begin with records of the bucket before, and these be damaged.
  const std::uint64_t before = std::max(block.lsn, range.begin).value - block.lsn.value;
  const Lsn first{block.lsn.value + before};
  for_each_record(block.bytes.subspan(before), first, hash_seed_, take, [&](Lsn lsn, lmdb::Bytes) {
    assume_held(kWriterGate);
    batch_.clear();
    refuse(view.layout, lsn);
    throw error_at(ErrorCode::corrupt, env_.path(), "the record at LSN {} of data.mdb is damaged", lsn.value);
  });
  return whole && copy_batch(view, work);
}

/// Notes the bucket of a damaged record, and gives up what was built with it.
void Healer::refuse(const Layout& layout, Lsn lsn) {
  std::uint64_t bucket = 0;
  for (unsigned i = 0; i < layout.bucket_count && layout.buckets[i].first_lsn <= lsn; ++i) {
    bucket = layout.buckets[i].number;
  }
  {
    const std::lock_guard guard(refused_mutex_);
    refused_.insert(bucket);
  }
  update_layout(state_, [&](Layout& latest) {
    const bool table = latest.building_slots != 0 && latest.building_bucket == bucket;
    const bool generation = latest.building_lines != 0;
    if (table) end_building(latest);
    if (generation) end_building_generation(latest);
    return table || generation;
  });
}

void Healer::add_to_batch(const Work& work, const RecordView& record, const MessageHash& hash, Lsn lsn) {
  CopiedRecord copied{hash, lsn, std::nullopt, Lsn{}};
  if (const std::string_view correlation = record.correlation(); !correlation.empty()) {
    copied.correlation.emplace(correlation_seed_, correlation);
    copied.previous = Lsn{record.attributes->previous};
  }
  if (work.table) work.table->prefetch(copied);
  if (work.filter) work.filter->prefetch(copied);
  batch_.push_back(copied);
  batch_end_ = Lsn{lsn.value + record.header.bytes()};
}

/// Returns whether all of the batch is copied: not when the layout has changed, or the table is full.
bool Healer::copy_batch(const View& view, const Work& work) {
  if (batch_.empty()) return true;
  copied_ += batch_.size();
  bool same = true;
  bool done = false;
  if (work.building()) {
    done = add_batch(view, work);
  } else {
    {
      const StoreLock lock(state_);  // Producers write to the same words.
      same = live_.layout.epoch() == view.epoch;
      done = same && add_batch(view, work);
    }
    StoreLock::give_way();
  }
  batch_.clear();
  if (done) note_copied(work, batch_end_);
  if (same && !done) note_too_small(work);
  return done;
}

/// Has the next round plan again, from counts that are larger by then, or else twice as large.
void Healer::note_too_small(const Work& work) {
  {
    const std::lock_guard guard(refused_mutex_);
    too_small_ = {work.table->bucket, work.table->table->slots()};
  }
  if (!work.table->building) return;
  update_layout(state_, [&](Layout& layout) {
    if (layout.building_slots == 0 || layout.building_bucket != work.table->bucket) return false;
    end_building(layout);
    return true;
  });
}

bool Healer::add_batch(const View& view, const Work& work) {
  for (const CopiedRecord& record : batch_) {
    if (work.filter && work.filter->range.holds(record.lsn)) work.filter->add(record, view.layout);
    if (work.table && !work.table->add(record)) return false;
  }
  return true;
}

}  // namespace oncelog::internal
