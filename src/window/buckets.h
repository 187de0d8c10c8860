#pragma once

#include <cstdint>
#include <optional>

#include "window/layout.h"

namespace oncelog::internal {

/// The rules of time buckets: when one opens, how large its index and filter are planned, when it is dropped. Pure
/// functions on a Layout value; the caller holds the store's mutex and publishes the result.
///
/// Invariants: buckets are contiguous ranges of LSNs and their newest records are in the same order, so the oldest
/// bucket is always the first to be dropped. A lane is live, sweeping or free, never two of these.
struct BucketRules {
  std::int64_t retention_us;
  std::int64_t slice_us;      // What a bucket covers: retention / buckets, at least kMinSliceUs.
  std::uint64_t planned_ids;  // Per bucket, when nothing is known of the traffic.

  static constexpr std::uint64_t kMinPlannedIds = 1024;
  static constexpr std::int64_t kMinSliceUs = 10'000;  // Longer than it takes to make a bucket ready.

  static BucketRules make(std::int64_t retention_us, unsigned buckets, std::uint64_t planned_ids);
  /// Ids to plan per bucket for so many per retention.
  static std::uint64_t planned_ids_for(std::uint64_t expected_ids, unsigned buckets);

  std::int64_t slice_begin(std::int64_t time_us) const { return time_us - time_us % slice_us; }

  /// Ids to plan for the bucket after one of `last_plan` planned and `last_ids` actual ids: up by doubling to what
  /// came, down by half at a time.
  std::uint64_t next_plan(std::uint64_t last_plan, std::uint64_t last_ids) const;

  /// The lines of another filter generation to begin with the next bucket, when the newest one is too small for its
  /// plan; 0 when it fits.
  std::uint64_t next_generation(const Layout& layout, std::uint64_t next_plan) const;

  /// Whether the current bucket has its share of a cap: what is forgotten at once when there is no more room.
  static bool slice_is_full(const Layout& layout, Lsn head, std::uint64_t max_bytes) {
    return max_bytes != 0 && !layout.empty() &&
           head.value - layout.current().first_lsn.value >= max_bytes / kSlicesOfCap;
  }
  static constexpr std::uint64_t kSlicesOfCap = 12;

  bool past_retention(std::int64_t newest_us, std::int64_t now_us) const { return newest_us + retention_us <= now_us; }
};

/// The lowest lane that is neither live nor being swept.
std::optional<unsigned> free_lane(const Layout& layout);

/// Whether a bucket can be opened now: there are a spare table and a clean lane.
bool can_open_bucket(const Layout& layout);

/// The slots of the table after these `tables` of a chain, the last of which has `last_slots`: twice as many at first,
/// so that a bucket takes little more than it needs, and four times as many later, so that a bucket that was planned in
/// a quiet time can still hold whatever comes. At most kMaxSlots.
std::uint64_t next_table_slots(unsigned tables, std::uint64_t last_slots);

/// The same for the lines of the filter generation after these.
std::uint64_t next_generation_lines(unsigned generations, std::uint64_t last_lines);

/// Opens the bucket of `time_us` at `head`, with the spare table and, where the newest filter generation is too small,
/// the spare one. `last_time_us` is the newest record's time so far, `now_us` what the clock says. Requires
/// can_open_bucket.
void open_bucket(Layout& layout, const BucketRules& rules, Lsn head, std::int64_t time_us, std::int64_t last_time_us,
                 std::int64_t now_us);

/// Puts the spare table behind the current bucket's, for the records from `head` on; needs one, and fewer than
/// kMaxTables in the chain.
void grow_index(Layout& layout, Lsn head);

/// Begins to build the next table of bucket `number`, whose file is made.
void begin_table(Layout& layout, std::uint64_t number, std::uint64_t slots);

/// The table that is built is no longer wanted.
void end_building(Layout& layout);

/// Makes the table that is built for the current bucket, as far as it is filled, the spare one, which a producer may
/// take.
void spare_built_table(Layout& layout);

/// Puts the table that is built behind the current bucket's, for the records from `head` on.
void grow_by_built_table(Layout& layout, Lsn head);

/// Drops all tables but the newest, which has their entries, of the bucket at `position` in the layout.
void drop_older_tables(Layout& layout, unsigned position);

/// Puts the table that is built in the place of all those of the bucket at `position`, whose records are all in it.
void replace_tables(Layout& layout, unsigned position);

/// Puts a new, empty table in the place of all those of a bucket that is not in use yet.
void put_in_place(BucketInfo& bucket, std::uint64_t slots);

/// Makes the spare generation, a larger one, the one written to from `head` on.
void grow_filter(Layout& layout, Lsn head);

/// Begins to build a generation for all live records, whose file is made.
void begin_generation(Layout& layout, std::uint64_t lines);

/// The generation that is built is no longer wanted.
void end_building_generation(Layout& layout);

/// Makes the generation that is built the one written to from `head` on.
void grow_by_built_generation(Layout& layout, Lsn head);

/// The newest generation is about to get the records of all live lanes.
void adopt_lanes(Layout& layout);

/// Drops all generations but the newest, which has all live records.
void drop_older_generations(Layout& layout);

/// Removes the oldest bucket: its lane leaves the live ones and waits to be swept; generations that only it has written
/// to are dropped.
void drop_oldest(Layout& layout);

/// After the lanes' bits are cleared in every generation.
void finish_sweep(Layout& layout, LaneMask lanes);

/// The first LSN of what is live; everything below may be deleted. `head` when nothing is.
Lsn oldest_lsn(const Layout& layout, Lsn head);

}  // namespace oncelog::internal
