#include "window/buckets.h"

#include <algorithm>
#include <bit>
#include <cassert>

#include "window/index.h"

namespace oncelog::internal {
namespace {

constexpr LaneMask kAllLanes = (LaneMask{1} << kLanes) - 1;

void push_spare_generation(Layout& layout, Lsn head, LaneMask lanes) {
  layout.generations[layout.generation_count++] = {layout.next_generation++, layout.spare_generation_lines, head,
                                                   lanes};
  layout.spare_generation_lines = 0;
}

void set_only_table(BucketInfo& bucket, std::uint64_t slots) {
  bucket.tables = 1;
  bucket.slots = {slots};
  bucket.table_lsn = {bucket.first_lsn};
  bucket.sealed_end = Lsn{};
}

/// Drops generations that no live lane was written to. The newest stays: it is written to.
void bury_generations(Layout& layout) {
  const LaneMask used = layout.live_lanes();
  unsigned kept = 0;
  for (unsigned i = 0; i < layout.generation_count; ++i) {
    const bool newest = i + 1 == layout.generation_count;
    if (newest || (layout.generations[i].lanes & used) != 0) layout.generations[kept++] = layout.generations[i];
  }
  std::fill(layout.generations.begin() + kept, layout.generations.end(), GenerationInfo{});
  layout.generation_count = kept;
}

/// Each look-up goes through all tables and generations, so there are few of them. They double up to this many, and
/// grow by the factor beyond.
constexpr unsigned kDoublingTables = 6;
constexpr std::uint64_t kTableFactor = 4;
constexpr unsigned kDoublingGenerations = 5;
constexpr std::uint64_t kGenerationFactor = 8;
static_assert(kDoublingTables < kMaxTables && kDoublingGenerations < kMaxGenerations);

}  // namespace

BucketRules BucketRules::make(std::int64_t retention_us, unsigned buckets, std::uint64_t planned_ids) {
  return {retention_us, std::max(kMinSliceUs, retention_us / buckets), std::max(planned_ids, kMinPlannedIds)};
}

std::uint64_t BucketRules::planned_ids_for(std::uint64_t expected_ids, unsigned buckets) {
  return std::max(kMinPlannedIds, (expected_ids + buckets - 1) / buckets);
}

std::uint64_t BucketRules::next_plan(std::uint64_t last_plan, std::uint64_t last_ids) const {
  std::uint64_t plan = std::max(last_plan, kMinPlannedIds);
  if (last_ids > plan) {
    while (plan < last_ids) plan *= 2;
  } else if (last_ids <= plan / 2) {
    plan = std::max(plan / 2, kMinPlannedIds);
  }
  return plan;
}

std::uint64_t BucketRules::next_generation(const Layout& layout, std::uint64_t next_plan) const {
  if (layout.generation_count == kMaxGenerations) return 0;
  const bool fits = FilterGeneration::capacity_of(layout.newest_generation().lines) >= next_plan;
  return fits ? 0 : FilterGeneration::lines_for(next_plan);
}

std::optional<unsigned> free_lane(const Layout& layout) {
  const LaneMask free = kAllLanes & ~(layout.live_lanes() | layout.sweeping);
  if (free == 0) return std::nullopt;
  return static_cast<unsigned>(std::countr_zero(free));
}

bool can_open_bucket(const Layout& layout) {
  return layout.spare_bucket_slots != 0 && layout.bucket_count < kMaxLiveBuckets && free_lane(layout).has_value();
}

std::uint64_t next_table_slots(unsigned tables, std::uint64_t last_slots) {
  return std::min(last_slots * (tables < kDoublingTables ? 2 : kTableFactor), kMaxSlots);
}

std::uint64_t next_generation_lines(unsigned generations, std::uint64_t last_lines) {
  return std::min(last_lines * (generations < kDoublingGenerations ? 2 : kGenerationFactor),
                  FilterGeneration::kMaxLines);
}

void open_bucket(Layout& layout, const BucketRules& rules, Lsn head, std::int64_t time_us, std::int64_t last_time_us,
                 std::int64_t now_us) {
  assert(can_open_bucket(layout));
  const unsigned lane = *free_lane(layout);
  if (!layout.empty()) {
    layout.current().newest_us = last_time_us;
    layout.current().closed_us = now_us;
  }
  BucketInfo& bucket = layout.buckets[layout.bucket_count++];
  bucket = {};
  bucket.number = layout.next_bucket++;
  bucket.first_lsn = head;
  bucket.slice_begin_us = rules.slice_begin(time_us);
  bucket.slice_end_us = bucket.slice_begin_us + rules.slice_us;
  bucket.lane = lane;
  bucket.tables = 1;
  bucket.slots[0] = layout.spare_bucket_slots;
  bucket.table_lsn[0] = head;
  layout.spare_bucket_slots = 0;
  layout.spare_table_slots = 0;  // Was the previous bucket's.
  const std::uint64_t lines = layout.newest_generation().lines;
  const bool too_small = FilterGeneration::capacity_of(lines) < IndexTable::planned_of(bucket.slots[0]);
  if (too_small && layout.spare_generation_lines != 0 && layout.generation_count < kMaxGenerations) {
    push_spare_generation(layout, head, 0);
  }
  layout.newest_generation().lanes |= LaneMask{1} << lane;
}

void grow_index(Layout& layout, Lsn head) {
  BucketInfo& bucket = layout.current();
  assert(layout.spare_table_slots != 0 && bucket.tables < kMaxTables);
  bucket.table_lsn[bucket.tables] = head;
  bucket.slots[bucket.tables++] = layout.spare_table_slots;
  layout.spare_table_slots = 0;
}

void begin_table(Layout& layout, std::uint64_t number, std::uint64_t slots) {
  assert(layout.building_slots == 0);
  layout.building_bucket = number;
  layout.building_slots = slots;
}

void end_building(Layout& layout) {
  layout.building_bucket = 0;
  layout.building_slots = 0;
}

void spare_built_table(Layout& layout) {
  assert(layout.builds_current() && layout.spare_table_slots == 0);
  layout.spare_table_slots = layout.building_slots;
  end_building(layout);
}

void grow_by_built_table(Layout& layout, Lsn head) {
  spare_built_table(layout);
  grow_index(layout, head);
}

void drop_older_tables(Layout& layout, unsigned position) {
  BucketInfo& bucket = layout.buckets[position];
  const std::uint64_t slots = bucket.slots[bucket.tables - 1];
  bucket.first_part += bucket.tables - 1;
  set_only_table(bucket, slots);
}

void replace_tables(Layout& layout, unsigned position) {
  BucketInfo& bucket = layout.buckets[position];
  assert(layout.building_slots != 0 && layout.building_bucket == bucket.number);
  put_in_place(bucket, layout.building_slots);
  end_building(layout);
}

void put_in_place(BucketInfo& bucket, std::uint64_t slots) {
  bucket.first_part = bucket.next_part();
  set_only_table(bucket, slots);
}

void grow_filter(Layout& layout, Lsn head) {
  assert(layout.spare_generation_lines != 0 && layout.generation_count < kMaxGenerations);
  push_spare_generation(layout, head, LaneMask{1} << layout.current().lane);
}

void begin_generation(Layout& layout, std::uint64_t lines) {
  assert(layout.building_lines == 0 && layout.spare_generation_lines == 0);
  layout.building_lines = lines;
}

void end_building_generation(Layout& layout) {
  layout.building_lines = 0;
}

void grow_by_built_generation(Layout& layout, Lsn head) {
  assert(layout.building_lines != 0 && layout.generation_count < kMaxGenerations);
  // The lanes that are being swept may have bits in it.
  layout.generations[layout.generation_count++] = {layout.next_generation++, layout.building_lines, head,
                                                   layout.live_lanes() | layout.sweeping};
  layout.building_lines = 0;
}

void adopt_lanes(Layout& layout) {
  layout.newest_generation().lanes |= layout.live_lanes();
}

void drop_older_generations(Layout& layout) {
  GenerationInfo newest = layout.newest_generation();
  newest.first_lsn = layout.generations[0].first_lsn;
  layout.generations = {newest};
  layout.generation_count = 1;
}

void drop_oldest(Layout& layout) {
  assert(!layout.empty());
  layout.sweeping |= LaneMask{1} << layout.buckets[0].lane;
  ++layout.drops;
  if (layout.building_slots != 0 && layout.building_bucket == layout.buckets[0].number) end_building(layout);
  std::move(layout.buckets.begin() + 1, layout.buckets.begin() + layout.bucket_count, layout.buckets.begin());
  layout.buckets[--layout.bucket_count] = {};
  if (layout.empty()) layout.spare_table_slots = 0;
  bury_generations(layout);
}

void finish_sweep(Layout& layout, LaneMask lanes) {
  layout.sweeping &= ~lanes;
  for (unsigned i = 0; i < layout.generation_count; ++i) layout.generations[i].lanes &= ~lanes;
}

Lsn oldest_lsn(const Layout& layout, Lsn head) {
  return layout.empty() ? head : layout.buckets[0].first_lsn;
}

}  // namespace oncelog::internal
