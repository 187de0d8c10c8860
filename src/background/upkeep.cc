#include "background/upkeep.h"

#include <algorithm>
#include <exception>
#include <optional>

#include "base/failpoint.h"
#include "shared/layout_update.h"
#include "shared/store_lock.h"
#include "shared/writer_gate.h"

namespace oncelog::internal {

bool Upkeep::due() {
  return aside_left_.load(std::memory_order_relaxed) || round_is_due();
}

bool Upkeep::round_is_due() {
  if (clock_.wants_settling(rules_.retention_us) || known_since_to_settle()) return true;
  views_.release_retired();
  const auto view = views_.newest();
  note_pace(*view);
  return oldest_is_past(view->layout) || view->layout.sweeping != 0 || wants_table(*view) ||
         next_generation(*view).has_value() || wants_bucket(view->layout) || spare_is_needed(*view) ||
         wanted_replacement(*view) || wanted_generation(*view) || allocates_table(*view) ||
         allocates_generation(*view) || (may(no_step_until_) && healer_.due(*view, clock_.boot_us()));
}

bool Upkeep::tick() {
  settle_clock();
  const bool aside = aside_left_.load(std::memory_order_relaxed) && views_.remove_set_aside();
  aside_left_.store(aside, std::memory_order_relaxed);
  bool more = false;
  try {
    more = round_is_due() && round(Demand::none);
  } catch (const LockTimeout&) {
    throw;
  } catch (const std::exception&) {
    read_ahead();  // What has failed may fail in each round, and healing need not wait for it.
    throw;
  }
  if (!more) {
    healer_.let_go();
  } else if (!read_ahead()) {
    StoreLock::give_way();  // The gate's waiters, too, would find it locked again.
  }
  return more || aside;
}

/// Reads what is healed next, without a lock. Returns whether there was something.
bool Upkeep::read_ahead() {
  bool read = false;
  if (may(no_step_until_)) patiently(no_step_until_, [&] { read = healer_.read_ahead(clock_.boot_us()); });
  return read;
}

void Upkeep::serve(Demand demand) {
  while (round(demand) && !met(demand)) {
  }
}

void Upkeep::serve_locked(Demand demand) {
  while (round_locked(demand) && !met(demand)) {
  }
}

bool Upkeep::met(Demand demand) const {
  std::uint64_t epoch = 0;
  const Layout layout = live_.layout.read(epoch);
  return (demand == Demand::bucket && can_open_bucket(layout)) ||
         (demand == Demand::table && layout.spare_table_slots != 0);
}

std::uint64_t Upkeep::expire() {
  std::uint64_t dropped = 0;
  while (round(Demand::none, &dropped)) {
  }
  return dropped;
}

bool Upkeep::round(Demand demand, std::uint64_t* dropped) {
  const WriterGate gate(live_, env_.path());
  const lmdb::WriteTxn lock(env_);  // Taken for LMDB's write lock; aborted.
  return round_locked(demand, dropped);
}

/// Returns whether a sweep is left to continue, or something to heal.
bool Upkeep::round_locked(Demand demand, std::uint64_t* dropped) {
  settle_clock();
  const std::uint64_t gone = drop_expired();
  if (dropped != nullptr) *dropped += gone;
  bool more = sweep();
  tidy();  // Before anything is made: new files take the space of expired ones.
  // Each on its own: where there is no room for one there may be for the next.
  std::exception_ptr first;
  const auto attempt = [&](const auto& make) REQUIRES(kWriterGate) {
    try {
      make();
    } catch (const LockTimeout&) {
      throw;
    } catch (const std::exception&) {  // Out of memory, too.
      if (!first) first = std::current_exception();
    }
  };
  attempt([&]() REQUIRES(kWriterGate) { make_bucket(demand == Demand::bucket); });
  attempt([&]() REQUIRES(kWriterGate) { make_table(demand == Demand::table); });
  attempt([&]() REQUIRES(kWriterGate) { make_generation(); });
  // Work for the background, which nobody waits for.
  if (demand == Demand::none && dropped == nullptr) {
    attempt([&]() REQUIRES(kWriterGate) { use_spare_table(); });
    attempt([&]() REQUIRES(kWriterGate) { replace_table(); });
    attempt([&]() REQUIRES(kWriterGate) { replace_generation(); });
    attempt([&]() REQUIRES(kWriterGate) { more |= allocate_table(); });
    attempt([&]() REQUIRES(kWriterGate) { more |= allocate_generation(); });
    attempt([&]() REQUIRES(kWriterGate) { more |= heal(); });
  }
  tidy();
  // A caller whose demand is met continues, and so does one that only expires; the background's own rounds report what
  // else failed.
  if (first && dropped == nullptr && !met(demand)) std::rethrow_exception(first);
  return more;
}

/// Deletes the files that the layout no longer names, once for each layout.
void Upkeep::tidy() {
  const std::uint64_t epoch = live_.layout.epoch();
  if (epoch == tidied_epoch_) return;
  std::uint64_t read_epoch = 0;
  views_.remove_strays(live_.layout.read(read_epoch));
  tidied_epoch_ = epoch;
}

bool Upkeep::oldest_is_past(const Layout& layout) const {
  if (layout.empty()) return false;
  // A bucket that was opened just now waits for its first record. If it were dropped it would only be opened again; and
  // again and again for a large transaction, which needs tables made first. Acquire: pairs with the producers' release
  // of head.
  if (layout.bucket_count == 1 && layout.buckets[0].first_lsn.value >= live_.marks.head.load(std::memory_order_acquire))
    return false;
  return rules_.past_retention(newest_us_of_oldest(layout), clock_.retention_us());
}

/// The last bucket's newest record is the store's. Acquire: pairs with the producers' release of last_time_us.
std::int64_t Upkeep::newest_us_of_oldest(const Layout& layout) const {
  return layout.bucket_count > 1 ? layout.buckets[0].newest_us
                                 : live_.marks.last_time_us.load(std::memory_order_acquire);
}

/// Follows a wall clock that has stayed where it jumped to, and lowers a known_since that lies in the future.
void Upkeep::settle_clock() {
  const bool clock = clock_.wants_settling(rules_.retention_us);
  if (!clock && !known_since_to_settle()) return;
  const StoreLock lock(state_);
  if (clock) clock_.settle(live_.clock, rules_.retention_us);
  // Everything that was forgotten was processed before now, whatever its stamp says.
  if (known_since_to_settle()) live_.known_since_us.store(clock_.stamp_us() + 1, std::memory_order_release);
}

/// Whether a known_since in the future should be lowered. It comes from records that were stamped by a clock that was
/// ahead, and makes every message too old. Right after a boot, though, it may be the clock that is wrong, because it is
/// not set yet.
bool Upkeep::known_since_to_settle() const {
  return live_.known_since_us.load(std::memory_order_relaxed) > clock_.stamp_us() + 1 &&
         clock_.boot_us() >= live_.known_settles_at_us.load(std::memory_order_relaxed);
}

std::uint64_t Upkeep::drop_expired() {
  std::uint64_t dropped = 0;
  update_layout(state_, [&](Layout& layout) REQUIRES(kStoreMutex) {
    for (; oldest_is_past(layout); ++dropped) forget_oldest(layout);
    return dropped != 0;
  });
  return dropped;
}

bool Upkeep::drop_early() {
  return update_layout(state_, [&](Layout& layout) REQUIRES(kStoreMutex) {
    if (layout.bucket_count < 2) return false;
    if (!oldest_is_past(layout)) HostCounters::add(live_.counters.early_drops, 1);
    forget_oldest(layout);
    return true;
  });
}

/// Drops the oldest bucket, and notes since when everything is known. Called under the mutex.
void Upkeep::forget_oldest(Layout& layout) {
  // Also for a bucket past its retention: by a clock that is set back later it may not be. What is forgotten was
  // processed before its bucket was closed, even if a clock that was ahead stamped it. Relaxed: only written under the
  // mutex. Release: before the layout without the bucket is published; pairs with the acquires of those who ask since
  // when everything is known, and of keep_forgotten.
  const std::int64_t closed_us = layout.bucket_count > 1 ? layout.buckets[0].closed_us : clock_.stamp_us();
  const std::int64_t newest_us = std::min({newest_us_of_oldest(layout), closed_us, clock_.stamp_us()});
  const std::int64_t since_us = std::max(live_.known_since_us.load(std::memory_order_relaxed), newest_us + 1);
  live_.known_since_us.store(since_us, std::memory_order_release);
  drop_oldest(layout);
  HostCounters::add(live_.counters.expired_buckets, 1);
}

/// In the order of their numbers; the one that is built may have bits in any lane.
std::vector<Upkeep::SweptGeneration> Upkeep::swept_generations(const View& view) {
  std::vector<SweptGeneration> all;
  for (std::size_t i = 0; i < view.generations.size(); ++i) {
    const GenerationInfo& info = view.layout.generations[i];
    all.push_back({info.number, info.lanes, view.generations[i].get()});
  }
  const bool has_bits = view.built_generation && view.built_generation->allocated() == 0;
  if (has_bits) all.push_back({view.layout.next_generation, ~LaneMask{0}, view.built_generation.get()});
  return all;
}

bool Upkeep::sweep() {
  const auto view = views_.newest();
  const LaneMask lanes = view->layout.sweeping;
  if (lanes == 0) return false;
  if (view->layout.drops != swept_drops_) {
    swept_drops_ = view->layout.drops;
    swept_generation_ = 0;
    swept_lines_ = 0;
  }
  std::uint64_t budget = kSweepLinesARound;
  const auto generations = swept_generations(*view);
  for (const auto& [number, written, filter] : generations) {
    if (number < swept_generation_ || (written & lanes) == 0) continue;
    if (number > swept_generation_) {
      swept_generation_ = number;
      swept_lines_ = 0;
    }
    while (swept_lines_ < filter->lines()) {
      if (budget == 0) return true;
      const std::uint64_t step = std::min(kSweepLines, budget);
      {
        const StoreLock lock(state_);  // Producers write to the same words.
        swept_lines_ = filter->sweep(lanes, swept_lines_, step);
      }
      budget -= step;
      StoreLock::give_way();
    }
  }
  update_layout(state_, [&](Layout& layout) REQUIRES(kStoreMutex) {
    for (const SweptGeneration& generation : generations) generation.filter->reset_counts(lanes);
    finish_sweep(layout, lanes);
    return true;
  });
  return false;
}

void Upkeep::note_pace(const View& view) {
  if (view.buckets.empty()) return;
  pace_.note(view.layout.current().number, view.buckets.back().entries(), clock_.boot_us());
}

bool Upkeep::wants_table(const View& view) const {
  return built_table_is_wanted(view) || next_table(view).has_value();
}

std::optional<std::uint64_t> Upkeep::next_table(const View& view) const {
  if (!may(no_table_until_)) return std::nullopt;
  return Growth::next_table(view, pace_, clock_.stamp_us(), healer_.too_small());
}

bool Upkeep::built_table_is_wanted(const View& view) const {
  return view.layout.builds_current() && may(no_table_until_) && Growth::wants_built_table(view, pace_);
}

/// Makes the current bucket's next table: one that is built, as long as nobody waits for it.
void Upkeep::make_table(bool demanded) {
  const auto view = views_.newest();
  const Layout& layout = view->layout;
  if (layout.empty() || layout.spare_table_slots != 0 || layout.current().tables == kMaxTables) return;
  if (layout.builds_current()) {
    if (demanded || built_table_is_wanted(*view)) take_built_table(*view);
    return;
  }
  if (demanded) {
    return make_spare_table(*view, Growth::next_slots(*view, pace_, clock_.stamp_us(), healer_.too_small()));
  }
  const auto slots = next_table(*view);
  if (!slots) return;
  patiently(no_table_until_, [&]() REQUIRES(kWriterGate) {
    const bool can_build = layout.building_slots == 0 && !healer_.refuses(layout.current().number);
    if (can_build && !Growth::too_late_to_build(*view, pace_)) return build_table(layout.current(), *slots);
    make_spare_table(*view, *slots);
  });
}

/// Makes the table that is built the spare one, as far as it is filled.
void Upkeep::take_built_table(const View& view) {
  patiently(no_table_until_, [&]() REQUIRES(kWriterGate) {
    // All of it at once: a producer may wait for it.
    while (healer_.allocate_table(view, ViewCache::Pages::left)) {
    }
  });
  update_layout(state_, [](Layout& latest) {
    if (!latest.builds_current()) return false;
    spare_built_table(latest);
    return true;
  });
}

void Upkeep::make_spare_table(const View& view, std::uint64_t wanted) {
  const BucketInfo& current = view.layout.current();
  const std::uint64_t slots = Growth::slots_at_once(view, wanted);
  views_.make_index(current.number, current.next_part(), slots);
  update_layout(state_, [&](Layout& layout) {
    // Producers may have opened the next bucket meanwhile; then the table is a stray.
    if (layout.empty() || layout.current().number != current.number) return false;
    layout.spare_table_slots = slots;
    return true;
  });
}

/// For a bucket that nothing is built for. Whether it is still the current one then makes no difference.
void Upkeep::build_table(const BucketInfo& bucket, std::uint64_t slots) {
  views_.begin_index(bucket.number, bucket.next_part(), slots);
  failpoint();
  update_layout(state_, [&](Layout& layout) {
    begin_table(layout, bucket.number, slots);
    return true;
  });
  failpoint();
}

bool Upkeep::may(const Holdback& holdback) const {
  return clock_.boot_us() >= holdback.load(std::memory_order_relaxed);
}

/// Calls work(), which nobody waits for. Where it fails, because there is no room for a table for example, nothing of
/// the kind is tried for a while.
template <typename Work>
void Upkeep::patiently(Holdback& holdback, Work work) {
  try {
    work();
  } catch (const LockTimeout&) {
    throw;
  } catch (const std::exception&) {  // Out of memory, too.
    holdback.store(clock_.boot_us() + kRetryUs, std::memory_order_relaxed);
    throw;
  }
}

/// Allocates a piece of the table that is built; returns whether there was one.
bool Upkeep::allocate_table() {
  const auto view = views_.newest();
  if (!allocates_table(*view)) return false;
  patiently(no_table_until_, [&]() REQUIRES(kWriterGate) { healer_.allocate_table(*view); });
  return true;
}

bool Upkeep::allocate_generation() {
  const auto view = views_.newest();
  if (!allocates_generation(*view)) return false;
  patiently(no_generation_until_, [&]() REQUIRES(kWriterGate) { healer_.allocate_generation(*view); });
  return true;
}

bool Upkeep::spare_is_needed(const View& view) const {
  return may(no_step_until_) && Growth::needs_spare(view, healer_.too_small());
}

std::optional<Growth::Replacement> Upkeep::wanted_replacement(const View& view) const {
  if (!may(no_table_until_) || !may(no_step_until_)) return std::nullopt;
  return growth_.replacement(view, pace_, clock_.stamp_us(), healer_.too_small(),
                             [&](std::uint64_t bucket) { return healer_.refuses(bucket); });
}

/// Returns whether there is more to heal or to replace.
bool Upkeep::heal() {
  bool more = false;
  if (may(no_step_until_)) {
    patiently(no_step_until_, [&]() REQUIRES(kWriterGate) { more = healer_.step(clock_.boot_us()); });
  }
  const auto view = views_.newest();
  return more || spare_is_needed(*view) || wanted_replacement(*view) || wanted_generation(*view);
}

std::optional<std::uint64_t> Upkeep::wanted_generation(const View& view) const {
  if (!may(no_generation_until_) || !may(no_step_until_) || healer_.refuses_filter(view)) return std::nullopt;
  return growth_.generation_replacement(view, pace_, clock_.stamp_us());
}

/// Does what producers do once the newest table is full, for a chain that heals then.
void Upkeep::use_spare_table() {
  if (!spare_is_needed(*views_.newest())) return;
  update_layout(state_, [&](Layout& layout) REQUIRES(kStoreMutex) {
    if (layout.empty() || layout.spare_table_slots == 0 || layout.current().tables == kMaxTables) return false;
    grow_index(layout, Lsn{live_.marks.head.load(std::memory_order_relaxed)});  // Relaxed: written under this mutex.
    return true;
  });
}

/// Begins to build a table in the place of several, or of one that is much too large.
void Upkeep::replace_table() {
  const auto view = views_.newest();
  const auto wanted = wanted_replacement(*view);
  if (!wanted) return;
  patiently(no_table_until_,
            [&]() REQUIRES(kWriterGate) { build_table(view->layout.buckets[wanted->position], wanted->slots); });
}

/// The same for a generation.
void Upkeep::replace_generation() {
  if (!wanted_generation(*views_.newest())) return;
  withdraw_spare_generation();
  const auto lines = wanted_generation(*views_.newest());
  if (!lines) return;
  patiently(no_generation_until_, [&]() REQUIRES(kWriterGate) { build_generation(*lines); });
}

/// For one of another size in its place: no producer may take it while its file is replaced.
void Upkeep::withdraw_spare_generation() {
  update_layout(state_, [](Layout& layout) {
    if (layout.spare_generation_lines == 0) return false;
    layout.spare_generation_lines = 0;
    return true;
  });
}

std::optional<std::uint64_t> Upkeep::next_generation(const View& view) const {
  return may(no_generation_until_) ? Growth::next_generation(view, pace_, clock_.stamp_us()) : std::nullopt;
}

void Upkeep::make_generation() {
  if (!next_generation(*views_.newest())) return;
  withdraw_spare_generation();  // It was made for the next bucket.
  const auto latest = views_.newest();
  const auto lines = next_generation(*latest);
  if (!lines) return;
  patiently(no_generation_until_, [&]() REQUIRES(kWriterGate) {
    if (healer_.refuses_filter(*latest)) return make_spare_generation(*latest, *lines);
    build_generation(*lines);
  });
}

void Upkeep::make_spare_generation(const View& view, std::uint64_t lines) {
  views_.make_filter(view.layout.next_generation, lines);
  update_layout(state_, [&](Layout& layout) {
    layout.spare_generation_lines = lines;
    return true;
  });
}

/// Nobody else makes generations, so no producer can have taken one when there is no spare one.
void Upkeep::build_generation(std::uint64_t lines) {
  views_.begin_filter(views_.newest()->layout.next_generation, lines);
  failpoint();
  update_layout(state_, [&](Layout& layout) {
    begin_generation(layout, lines);
    return true;
  });
  failpoint();
}

bool Upkeep::wants_bucket(const Layout& layout) const {
  if (layout.spare_bucket_slots != 0) return false;
  if (layout.empty()) return true;
  // Acquire: pairs with the producers' release of head.
  if (BucketRules::slice_is_full(layout, Lsn{live_.marks.head.load(std::memory_order_acquire)},
                                 live_.max_bytes.load(std::memory_order_relaxed)))
    return true;
  // Early enough to make it in time, but not so early that the current bucket's count of ids says nothing yet.
  const std::int64_t two_rounds_us = 2 * std::chrono::microseconds(flush_interval_).count();
  const std::int64_t lead_us = std::min(rules_.slice_us / 2, std::max(rules_.slice_us / 16, two_rounds_us));
  return clock_.stamp_us() >= layout.current().slice_end_us - lead_us;
}

void Upkeep::make_bucket(bool demanded) {
  const auto view = views_.newest();
  const Layout& before = view->layout;
  if (before.spare_bucket_slots != 0 || (!demanded && !wants_bucket(before))) return;
  std::uint64_t plan = rules_.planned_ids;
  if (!view->buckets.empty()) {
    plan = rules_.next_plan(IndexTable::planned_of(before.current().slots[0]), view->buckets.back().entries());
  }
  const std::uint64_t slots = IndexTable::slots_for(plan);
  views_.make_index(before.next_bucket, 0, slots);
  const bool planned = before.spare_generation_lines != 0 || before.building_lines != 0;
  std::uint64_t lines = planned ? 0 : rules_.next_generation(before, plan);
  std::optional<Error> no_filter;  // For a better size only: the bucket can do with the generation there is.
  if (lines != 0) {
    try {
      views_.make_filter(before.next_generation, lines);
    } catch (const Error& error) {
      no_filter = error;
      lines = 0;
    }
  }
  // Nobody else makes spare buckets or generations, and as there was none, no producer can have taken one.
  update_layout(state_, [&](Layout& layout) {
    layout.spare_bucket_slots = slots;
    if (lines != 0) layout.spare_generation_lines = lines;
    return true;
  });
  if (no_filter) throw Error(*no_filter);
}

}  // namespace oncelog::internal
