#include "background/healer.h"

#include <algorithm>
#include <new>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/failpoint.h"
#include "shared/layout_update.h"
#include "window/buckets.h"

namespace oncelog::internal {

Healer::Healer(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& state,
               ViewCache& views, unsigned threads)
    : env_(env),
      log_(log),
      hash_seed_(hash_seed),
      state_(state),
      live_(state.header()),
      views_(views),
      threads_(std::clamp(threads, 1U, kMostReaders)) {}

bool Healer::due(const View& view, std::int64_t now_us) const {
  if (view.built_is_lost || deserted_at(view, now_us)) return true;
  const Work work = next_work(view, flushed());
  return work.any() && (!work.left() || !turn_.is_others(now_us));
}

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

bool Healer::allocate_table(const View& view, ViewCache::Pages pages) {
  if (refuses_table(view)) return false;
  try {
    return views_.allocate_built_table(view, pages);
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
  const Work work = next_work(*view, flushed());
  if (!work.any()) return false;
  if (!work.left()) return publish(work) && due(*views_.newest(), now_us);
  const bool has_read = ahead_ && !ahead_->added && work.continues(ahead_->work);
  if (has_read && !adopt_lanes(*view, work)) add_some(*view);
  return due(*views_.newest(), now_us);
}

/// Whether what was read for `former` is what is to be added now. Nobody else has come any further with it.
bool Healer::Work::continues(const Work& former) const {
  if (table.has_value() != former.table.has_value() || filter.has_value() != former.filter.has_value()) return false;
  if (table && (table->table != former.table->table || table->building != former.table->building)) return false;
  if (filter && (filter->filter != former.filter->filter || filter->building != former.filter->building)) return false;
  return (!table || table->range.from == former.table->range.from) &&
         (!filter || filter->range.from == former.filter->range.from);
}

bool Healer::read_ahead(std::int64_t now_us) {
  const bool still = is_still(now_us);
  still_.store(still, std::memory_order_relaxed);
  // Before the view: what is in the log belongs to a bucket that the view has, and ends where the next one begins.
  const Lsn end = flushed();
  const auto view = views_.newest();
  Work work = next_work(*view, end);
  if (work.left() && ahead_ && !ahead_->added && work.continues(ahead_->work)) return false;
  ahead_.reset();
  if (!work.left()) return false;
  turn_.look(work.table, work.filter, now_us);
  if (turn_.is_others(now_us)) return false;
  if (!txn_) txn_.emplace(env_, log_.dbi());
  const lmdb::ReadTxn::Active active(*txn_);
  const bool much = still && !short_of_memory_;
  const HintSource source{*txn_,
                          hash_seed_,
                          work.range(),
                          much ? kBytesOfStill : kBytes,
                          much ? kStillTime : kTime,
                          work.table.has_value(),
                          work.filter.has_value()};
  const std::uint64_t bytes = std::min(source.most_bytes, source.range.bytes());
  const std::uint64_t threads = much ? std::clamp<std::uint64_t>(bytes / kLeastBytesAThread, 1, threads_) : 1;
  try {
    ahead_.emplace(Ahead{std::move(work), read_sorted(source, static_cast<unsigned>(threads))});
  } catch (const std::bad_alloc&) {
    short_of_memory_ = true;
    throw;
  }
  return true;
}

/// Whether hardly anything has been accepted for a while: then nobody else needs the processors.
bool Healer::is_still(std::int64_t now_us) {
  const Lsn head{live_.marks.head.load(std::memory_order_relaxed)};  // Relaxed: only compared.
  if (head.value - still_head_.value > kStillBytes) {
    still_head_ = head;
    still_since_us_ = now_us;
  }
  return now_us - still_since_us_ >= kStillUs;
}

/// The end of the log. Acquire: pairs with the release by whoever has committed; a snapshot taken afterwards has what
/// is below.
Lsn Healer::flushed() const {
  return Lsn{live_.marks.flushed.load(std::memory_order_acquire)};
}

/// Not what waits for the flusher. What is complete comes first. Two copies meet where the one that is behind has come
/// to the other, so that no record is read twice; only where the filter has more to read before that than the table
/// has in all, the table goes first.
Healer::Work Healer::next_work(const View& view, Lsn flushed) const {
  auto table = next_table(view, flushed);
  if (table && !table->range.left()) return {std::move(table), std::nullopt};
  auto filter = next_filter(view, flushed);
  if (filter && !filter->range.left()) return {std::nullopt, std::move(filter)};
  // Where no marks wait for the table, both are filled at once.
  if (still_.load(std::memory_order_relaxed) && generation_unallocated(view)) table.reset();
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

void Healer::add_some(const View& view) {
  if (const Lsn damaged = ahead_->hints.damaged; damaged.value != 0) {
    ahead_->added = true;  // There is no more of it to add.
    refuse(view.layout, damaged);
    throw error_at(ErrorCode::corrupt, env_.path(), "the record at LSN {} of data.mdb is damaged", damaged.value);
  }
  const Clock::time_point until = Clock::now() + kStepTime;
  if (!add_records(view, until) || !add_links(view, until) || !add_chains(view, until)) return;
  note_copied();
  ahead_->added = true;
  turn_.came_further();
  failpoint();
}

bool Healer::add_records(const View& view, Clock::time_point until) {
  const Work& work = ahead_->work;
  for (auto& runs = ahead_->hints.runs; ahead_->run < runs.size(); ++ahead_->run, ahead_->record = 0) {
    const std::span records(std::as_const(runs[ahead_->run].records));
    const auto coming = [&](std::size_t i) { return records[std::min(i + kAhead, records.size() - 1)].hash; };
    const bool into_table = runs[ahead_->run].into == HintRun::Into::table;
    const bool in_use = into_table ? !work.table->building : !work.filter->building;
    const bool added = add_all(view, until, in_use, records.size(), ahead_->record, [&](std::size_t i) {
      if (into_table) {
        work.table->table->prefetch(coming(i));
        return work.table->add(records[i]);
      }
      work.filter->filter->prefetch(coming(i));
      work.filter->add(records[i].hash, records[i].lsn, view.layout);
      return true;
    });
    if (!added) return false;
  }
  return true;
}

bool Healer::add_links(const View& view, Clock::time_point until) {
  const Work& work = ahead_->work;
  const std::span<const CopiedLink> links(ahead_->hints.links);
  return add_all(view, until, work.filter && !work.filter->building, links.size(), ahead_->link, [&](std::size_t i) {
    work.filter->filter->prefetch(links[std::min(i + kAhead, links.size() - 1)].correlation);
    work.filter->add(links[i].correlation, links[i].lsn, view.layout);
    return true;
  });
}

bool Healer::add_chains(const View& view, Clock::time_point until) {
  const Work& work = ahead_->work;
  const std::span<const CopiedLink> chains(ahead_->hints.chains);
  return add_all(view, until, work.table && !work.table->building, chains.size(), ahead_->chain, [&](std::size_t i) {
    work.table->table->prefetch(chains[std::min(i + kAhead, chains.size() - 1)].correlation);
    return work.table->add(chains[i]);
  });
}

/// Calls add(i) for i from `at` on, which returns whether there was room, and moves `at` on. Returns whether all
/// `count` have been added: not when the time is over, the layout has changed, or the table is full.
template <typename Add>
bool Healer::add_all(const View& view, Clock::time_point until, bool in_use, std::size_t count, std::size_t& at,
                     Add add) {
  while (at < count) {
    if (Clock::now() >= until) return false;
    const std::size_t end = std::min(at + kBatch, count);
    const bool added = add_batch(view, in_use, [&] {
      for (std::size_t i = at; i < end; ++i) {
        if (!add(i)) return false;
      }
      return true;
    });
    if (!added) return false;
    at = end;
  }
  return true;
}

/// Calls add(), which returns whether there was room for all. What is in use is added to under the mutex, and only as
/// long as the layout is the view's. Returns whether all has been added.
template <typename Add>
bool Healer::add_batch(const View& view, bool in_use, Add add) {
  bool same = true;
  bool done = false;
  bool awaited = false;
  if (!in_use) {
    done = add();
  } else {
    const StoreLock lock(state_);  // Producers write to the same words.
    same = live_.layout.epoch() == view.epoch;
    done = same && add();
    awaited = lock.awaited();
  }
  if (awaited) StoreLock::give_way();
  if (same && !done) note_too_small(ahead_->work);
  return done;
}

/// Everything below the end of what was read is copied.
void Healer::note_copied() {
  const Lsn end = ahead_->hints.end;
  const Work& work = ahead_->work;
  if (work.table) work.table->table->note_copied(end);
  if (work.filter && work.filter->range.from < end) {
    work.filter->filter->note_copied(std::min(end, work.filter->range.to));
  }
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

}  // namespace oncelog::internal
