#include "background/growth.h"

#include <algorithm>

#include "window/index.h"

namespace oncelog::internal {
namespace {

/// So many entries a second are copied at least while marks take their share of the machine.
constexpr double kCopiesPerSecond = 1e6;
/// What has been accepted and is not in the log yet can be copied only after this time.
constexpr double kLagSeconds = 0.2;
/// The next round of upkeep may have to wait so long for a flush.
constexpr double kRoundSeconds = 0.1;
constexpr double kLeastGrowth = 1.25;
/// A small plan may be far from what comes. A large one has been reached step by step, and what is made for it takes
/// gigabytes: then one step more is better than memory for a pace that does not last.
constexpr double kMostGrowth = 4;
constexpr double kMostGrowthOfLarge = 2;
constexpr std::uint64_t kLarge = std::uint64_t{4} << 20;
/// An empty table of so many slots is allocated in some milliseconds.
constexpr std::uint64_t kSlotsAtOnce = std::uint64_t{1} << 20;
constexpr auto kMostEntries = static_cast<double>(kMaxSlots);

/// What is promised, but kLeastGrowth to kMostGrowth times what is planned now.
std::uint64_t grown(std::uint64_t planned, double promised) {
  const auto now = static_cast<double>(planned);
  const double most = planned < kLarge ? kMostGrowth : kMostGrowthOfLarge;
  return static_cast<std::uint64_t>(std::clamp(promised, now * kLeastGrowth, now * most));
}

std::uint64_t slots_for(std::uint64_t entries) {
  return std::min(IndexTable::slots_for(entries), kMaxSlots);
}

/// What the filter has to hold for the largest bucket. Both its plans and its growth go by this: where two measures
/// differ, as entries and added ids do in a chain of records, what one calls too small the other may call too large.
std::uint64_t largest_load(const View& view) {
  const FilterGeneration& newest = *view.generations.back();
  std::uint64_t largest = 0;
  for (const View::Bucket& bucket : view.buckets) {
    // A record adds two ids at most, and makes one entry at least; a count beyond that is damaged.
    const std::uint64_t entries = bucket.entries();
    largest = std::max({largest, entries, std::min(newest.count(bucket.info.lane), 2 * entries)});
  }
  return largest;
}

/// The entries that the current bucket will have at the end of its slice.
double promised(const View::Bucket& bucket, const Pace& pace, std::int64_t now_us) {
  const auto entries = static_cast<double>(bucket.entries());
  const auto per_second = pace.per_second();
  if (!per_second) return 2 * entries;
  return entries +
         *per_second * static_cast<double>(std::max<std::int64_t>(bucket.info.slice_end_us - now_us, 0)) / 1e6;
}

/// Whether a table that is built now may not be filled much before the present one is full.
bool nearly_full(std::uint64_t count, std::uint64_t planned, const Pace& pace) {
  const auto per_second = pace.per_second();
  const auto entries = static_cast<double>(count);
  if (!per_second || entries < static_cast<double>(planned) / kMostGrowth) return false;
  return static_cast<double>(planned) - entries <= *per_second * (entries / kCopiesPerSecond + kLagSeconds);
}

/// Whether the table will be full within `seconds` at this pace.
bool full_within(const IndexTable& table, double seconds, const Pace& pace) {
  const auto per_second = pace.per_second();
  if (!per_second) return false;
  return static_cast<double>(table.count()) + *per_second * seconds >=
         static_cast<double>(IndexTable::capacity_of(table.slots()));
}

}  // namespace

void Pace::note(std::uint64_t bucket, std::uint64_t entries, std::int64_t now_us) {
  const std::lock_guard guard(mutex_);
  const Sample now{entries, now_us};
  if (bucket != bucket_ || entries < last_.entries || now_us < last_.at_us) {
    bucket_ = bucket;
    last_ = window_ = next_window_ = still_since_ = now;
    return;
  }
  last_ = now;
  if (now_us - next_window_.at_us >= kWindowUs / 2) {
    window_ = next_window_;
    next_window_ = now;
  }
  if (entries > still_since_.entries + still_since_.entries / kStillShare) still_since_ = now;
}

std::optional<double> Pace::per_second() const {
  const std::lock_guard guard(mutex_);
  const std::int64_t seen_us = last_.at_us - window_.at_us;
  if (seen_us < kLeastUs) return std::nullopt;
  return static_cast<double>(last_.entries - window_.entries) * 1e6 / static_cast<double>(seen_us);
}

bool Pace::quiet() const {
  const std::lock_guard guard(mutex_);
  return last_.at_us - still_since_.at_us >= kQuietUs;
}

std::optional<std::uint64_t> Growth::next_table(const View& view, const Pace& pace, std::int64_t now_us,
                                                const TooSmall& too_small) {
  const Layout& layout = view.layout;
  if (view.buckets.empty() || layout.spare_table_slots != 0 || layout.builds_current()) return std::nullopt;
  const View::Bucket& bucket = view.buckets.back();
  if (bucket.info.tables == kMaxTables) return std::nullopt;
  const IndexTable& table = bucket.newest_table();
  const std::uint64_t planned = IndexTable::planned_of(table.slots());
  const bool soon =
      bucket.info.tables == 1 ? nearly_full(table.count(), planned, pace) : full_within(table, kRoundSeconds, pace);
  if (table.count() < planned && !soon) return std::nullopt;
  return next_slots(view, pace, now_us, too_small);
}

bool Growth::too_late_to_build(const View& view, const Pace& pace) {
  return full_within(view.buckets.back().newest_table(), kLagSeconds, pace);
}

bool Growth::wants_built_table(const View& view, const Pace& pace) {
  const IndexTable& table = view.buckets.back().newest_table();
  const std::uint64_t planned = IndexTable::planned_of(table.slots());
  return table.count() >= planned + (IndexTable::capacity_of(table.slots()) - planned) / 2 ||
         full_within(table, kRoundSeconds, pace);
}

std::uint64_t Growth::next_slots(const View& view, const Pace& pace, std::int64_t now_us, const TooSmall& too_small) {
  const View::Bucket& bucket = view.buckets.back();
  const std::uint64_t planned = std::max(IndexTable::planned_of(bucket.newest_table().slots()), bucket.entries());
  const std::uint64_t slots =
      too_small.larger(bucket.info.number, slots_for(grown(planned, promised(bucket, pace, now_us))));
  if (bucket.info.tables == 1) return slots;
  // Healing does not keep up, and the tables of a chain must be enough for whatever comes.
  return std::max(slots, next_table_slots(bucket.info.tables, bucket.newest_table().slots()));
}

std::uint64_t Growth::slots_at_once(const View& view, std::uint64_t wanted) {
  const View::Bucket& bucket = view.buckets.back();
  const std::uint64_t last = bucket.newest_table().slots();
  const std::uint64_t enough = bucket.info.tables == 1 ? last / 4 : next_table_slots(bucket.info.tables, last);
  return std::min(wanted, std::max(enough, kSlotsAtOnce));
}

std::optional<Growth::Replacement> Growth::replacement(const View& view, const Pace& pace, std::int64_t now_us,
                                                       const TooSmall& too_small, const Refuses& refuses) const {
  if (view.layout.building_slots != 0) return std::nullopt;
  for (unsigned i = 0; i < view.buckets.size(); ++i) {
    const View::Bucket& bucket = view.buckets[i];
    const bool current = i + 1 == view.buckets.size();
    if (refuses(bucket.info.number)) continue;
    if (current && (view.layout.spare_table_slots != 0 || bucket.info.tables == kMaxTables)) continue;
    const std::uint64_t entries = bucket.entries();
    if (bucket.tables.size() > 1) {
      const std::uint64_t newest = bucket.newest_table().slots();
      if (newest_holds_all(bucket) && !too_small.is(bucket.info.number, newest)) continue;
      const std::uint64_t slots = slots_for(current ? entries + entries / 2 : entries);
      return Replacement{i, too_small.larger(bucket.info.number, slots)};
    }
    // What costs only memory waits for what costs time.
    if (view.layout.generation_count > 1 || view.layout.building_lines != 0) continue;
    std::uint64_t right = std::max(entries, planned_ids);
    if (current) {
      // Its first table was planned from the bucket before.
      if (bucket.info.first_part == 0 || !pace.quiet()) continue;
      right = std::max(right, static_cast<std::uint64_t>(std::min(promised(bucket, pace, now_us), kMostEntries)));
    }
    // One that is still written to keeps some room.
    const std::uint64_t slots = slots_for(current ? right + right / 4 : right);
    const bool shrinks = oversized(bucket.newest_table().slots(), slots_for(right));
    if (shrinks && !too_small.is(bucket.info.number, slots)) return Replacement{i, slots};
  }
  return std::nullopt;
}

bool Growth::needs_spare(const View& view, const TooSmall& too_small) {
  if (view.layout.spare_table_slots == 0 || view.buckets.empty()) return false;
  const View::Bucket& bucket = view.buckets.back();
  if (bucket.tables.size() < 2 || bucket.info.tables == kMaxTables) return false;
  return !newest_holds_all(bucket) || too_small.is(bucket.info.number, bucket.newest_table().slots());
}

std::optional<std::uint64_t> Growth::next_generation(const View& view, const Pace& pace, std::int64_t now_us) {
  const Layout& layout = view.layout;
  if (view.buckets.empty() || layout.building_lines != 0 || layout.generation_count == kMaxGenerations)
    return std::nullopt;
  const FilterGeneration& newest = *view.generations.back();
  if (layout.spare_generation_lines > newest.lines() || newest.lines() == FilterGeneration::kMaxLines)
    return std::nullopt;
  const std::uint64_t count = newest.count(layout.current().lane);
  const std::uint64_t capacity = FilterGeneration::capacity_of(newest.lines());
  const bool soon = layout.generation_count == 1 && nearly_full(count, capacity, pace);
  if (count < capacity && !soon) return std::nullopt;
  const std::uint64_t planned = std::max(FilterGeneration::planned_of(newest.lines()), largest_load(view));
  const auto lines = FilterGeneration::lines_for(grown(planned, promised(view.buckets.back(), pace, now_us)));
  return layout.generation_count == 1 ? lines
                                      : std::max(lines, next_generation_lines(layout.generation_count, newest.lines()));
}

std::optional<std::uint64_t> Growth::generation_replacement(const View& view, const Pace& pace,
                                                            std::int64_t now_us) const {
  const Layout& layout = view.layout;
  if (view.buckets.empty() || layout.building_lines != 0 || layout.generation_count == kMaxGenerations)
    return std::nullopt;
  if (layout.generation_count > 1) {
    if (newest_fits_all(view)) return std::nullopt;
    const std::uint64_t largest = largest_load(view);
    // As in next_generation: eight must be enough for whatever comes.
    return std::max(FilterGeneration::lines_for(largest + largest / 4),
                    next_generation_lines(layout.generation_count, view.generations.back()->lines()));
  }
  if (layout.spare_generation_lines != 0) return std::nullopt;
  const View::Bucket& current = view.buckets.back();
  if (!pace.quiet() || layout.building_slots != 0 || current.tables.size() > 1) return std::nullopt;
  const auto expected = static_cast<std::uint64_t>(std::min(promised(current, pace, now_us), kMostEntries));
  const std::uint64_t planned = IndexTable::planned_of(current.newest_table().slots());
  const std::uint64_t right = std::max({largest_load(view), planned_ids, planned, expected});
  const std::uint64_t lines = FilterGeneration::lines_for(right);
  return oversized(layout.newest_generation().lines, lines) ? std::optional(lines) : std::nullopt;
}

bool Growth::newest_fits_all(const View& view) {
  return FilterGeneration::capacity_of(view.generations.back()->lines()) >= largest_load(view);
}

bool Growth::newest_holds_all(const View::Bucket& bucket) {
  const IndexTable& newest = bucket.newest_table();
  const std::uint64_t count = View::Bucket::entries_of(newest);
  const std::uint64_t copies = View::Bucket::copies_in(newest);
  const std::uint64_t others = bucket.entries() - (count - copies);
  const std::uint64_t missing = others - std::min(copies, others);
  return missing <= IndexTable::capacity_of(newest.slots()) - count;
}

}  // namespace oncelog::internal
