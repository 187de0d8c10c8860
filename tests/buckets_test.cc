#include "window/buckets.h"

#include <bit>
#include <random>

#include "support.h"
#include "window/index.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

constexpr std::int64_t kSecond = 1'000'000;

BucketRules rules() {
  return BucketRules::make(80 * kSecond, 8, 1000);
}

Layout first_layout() {
  Layout layout;
  layout.generation_count = 1;
  layout.generations[0] = {layout.next_generation++, 512, Lsn{}, 0};
  return layout;
}

void open_next(Layout& layout, std::uint64_t head, std::int64_t time_us, std::int64_t last_us) {
  layout.spare_bucket_slots = 1470;
  open_bucket(layout, rules(), Lsn{head}, time_us, last_us, time_us);
}

}  // namespace

TEST_CASE("a bucket covers a slice of the retention, aligned to its length") {
  const BucketRules eight = rules();
  CHECK(eight.slice_us == 10 * kSecond);
  CHECK(eight.slice_begin(95 * kSecond + 1) == 90 * kSecond);
  CHECK(eight.slice_begin(90 * kSecond) == 90 * kSecond);
  CHECK(BucketRules::make(1000, 14, 1000).slice_us == BucketRules::kMinSliceUs);
  CHECK(BucketRules::make(140'000, 14, 1000).slice_us == 10'000);
}

TEST_CASE("expected ids are planned evenly over the buckets, and never less than the least table") {
  CHECK(BucketRules::planned_ids_for(1'000'000, 8) == 125'000);
  CHECK(BucketRules::planned_ids_for(1'000'001, 8) == 125'001);
  CHECK(BucketRules::planned_ids_for(1, 8) == BucketRules::kMinPlannedIds);
}

TEST_CASE("plans follow the traffic: up by doubling to what came, down by half at a time") {
  CHECK(rules().next_plan(1024, 1024) == 1024);
  CHECK(rules().next_plan(1024, 1025) == 2048);
  CHECK(rules().next_plan(1024, 100'000) == 131'072);
  CHECK(rules().next_plan(131'072, 65'537) == 131'072);
  CHECK(rules().next_plan(131'072, 65'536) == 65'536);
  CHECK(rules().next_plan(131'072, 0) == 65'536);
  CHECK(rules().next_plan(1024, 0) == 1024);
}

TEST_CASE("an id is past its retention when that has gone by to the microsecond") {
  CHECK_FALSE(rules().past_retention(5, 5 + 80 * kSecond - 1));
  CHECK(rules().past_retention(5, 5 + 80 * kSecond));
}

TEST_CASE("a bucket opens with the spare table at the head of the log, and closes the one before") {
  Layout layout = first_layout();
  CHECK_FALSE(can_open_bucket(layout));
  CHECK(oldest_lsn(layout, Lsn{8}) == Lsn{8});
  open_next(layout, 8, 95 * kSecond, 0);
  CHECK(layout.current().number == 1);
  CHECK(layout.current().first_lsn == Lsn{8});
  CHECK(layout.current().slice_begin_us == 90 * kSecond);
  CHECK(layout.current().slice_end_us == 100 * kSecond);
  CHECK(layout.current().slots[0] == 1470);
  CHECK(layout.newest_generation().lanes == 1);
  CHECK(layout.spare_bucket_slots == 0);
  layout.spare_table_slots = 2940;
  open_next(layout, 800, 101 * kSecond, 99 * kSecond);
  CHECK(layout.buckets[0].newest_us == 99 * kSecond);
  CHECK(layout.current().number == 2);
  CHECK(layout.current().lane == 1);
  CHECK(layout.spare_table_slots == 0);  // It was the first bucket's.
  CHECK(layout.newest_generation().lanes == 3);
  CHECK(oldest_lsn(layout, Lsn{1000}) == Lsn{8});
  CHECK(layout.well_formed());
}

TEST_CASE("a lane that is being swept is not given to a bucket") {
  Layout layout = first_layout();
  open_next(layout, 8, kSecond, 0);
  open_next(layout, 16, 11 * kSecond, kSecond);
  drop_oldest(layout);
  CHECK(layout.sweeping == 1);
  CHECK(layout.drops == 1);
  CHECK(free_lane(layout) == 2U);
  CHECK((layout.newest_generation().lanes & 1) == 1);
  finish_sweep(layout, 1);
  CHECK(layout.sweeping == 0);
  CHECK((layout.newest_generation().lanes & 1) == 0);
  CHECK(free_lane(layout) == 0U);
}

TEST_CASE("no bucket can open when all lanes are taken") {
  Layout layout = first_layout();
  for (unsigned i = 0; i < kLanes; ++i) open_next(layout, 8 + 8 * i, 10 * kSecond * i, 10 * kSecond * i);
  layout.spare_bucket_slots = 1470;
  CHECK_FALSE(free_lane(layout));
  CHECK_FALSE(can_open_bucket(layout));
  drop_oldest(layout);
  CHECK_FALSE(can_open_bucket(layout));  // Not swept yet.
  finish_sweep(layout, layout.sweeping);
  CHECK(can_open_bucket(layout));
}

TEST_CASE("a generation dies with the last bucket that wrote to it, and the newest one never") {
  Layout layout = first_layout();
  open_next(layout, 8, kSecond, 0);
  layout.spare_generation_lines = 1024;
  grow_filter(layout, Lsn{8});
  CHECK(layout.generation_count == 2);
  CHECK(layout.newest_generation().lines == 1024);
  CHECK(layout.newest_generation().lanes == 1);
  open_next(layout, 16, 11 * kSecond, kSecond);
  CHECK(layout.generations[0].lanes == 1);
  CHECK(layout.newest_generation().lanes == 3);
  drop_oldest(layout);
  REQUIRE(layout.generation_count == 1);
  CHECK(layout.generations[0].number == 2);
  drop_oldest(layout);
  CHECK(layout.generation_count == 1);
  CHECK(layout.empty());
}

TEST_CASE("a generation begins with a bucket for which the newest one is too small, a spare one waits otherwise") {
  Layout layout = first_layout();
  layout.generations[0].lines = 100'000;
  CHECK(rules().next_generation(layout, 250'000) == 0);
  CHECK(rules().next_generation(layout, 250'001) == 125'001);
  CHECK(rules().next_generation(layout, 1024) == 0);
  layout.spare_generation_lines = 200'000;
  open_next(layout, 8, kSecond, 0);
  CHECK(layout.newest_generation().lines == 100'000);
  CHECK(layout.spare_generation_lines == 200'000);
  layout.generations[0].lines = 100;
  open_next(layout, 16, 11 * kSecond, kSecond);
  CHECK(layout.newest_generation().lines == 200'000);
  CHECK(layout.newest_generation().lanes == 2);
  CHECK(layout.spare_generation_lines == 0);
}

TEST_CASE("a table that is built comes behind the others of its bucket, and stays alone when it has everything") {
  Layout layout = first_layout();
  open_next(layout, 8, kSecond, 0);
  begin_table(layout, 1, 2940);
  CHECK(layout.builds_current());
  CHECK(layout.current().next_part() == 1);
  SUBCASE("of the current bucket") {
    grow_by_built_table(layout, Lsn{800});
    CHECK(layout.building_slots == 0);
    CHECK(layout.current().tables == 2);
    CHECK(layout.current().table_lsn[1] == Lsn{800});
    drop_older_tables(layout, 0);
  }
  SUBCASE("of an earlier bucket") {
    open_next(layout, 1600, 11 * kSecond, kSecond);
    CHECK_FALSE(layout.builds_current());
    replace_tables(layout, 0);
  }
  CHECK(layout.building_slots == 0);
  const BucketInfo& bucket = layout.buckets[0];
  CHECK(bucket.tables == 1);
  CHECK(bucket.first_part == 1);
  CHECK(bucket.slots[0] == 2940);
  CHECK(bucket.slots[1] == 0);
  CHECK(bucket.table_lsn[0] == Lsn{8});
}

TEST_CASE("a table that is built goes with its bucket") {
  Layout layout = first_layout();
  open_next(layout, 8, kSecond, 0);
  open_next(layout, 16, 11 * kSecond, kSecond);
  begin_table(layout, 1, 2940);
  drop_oldest(layout);
  CHECK(layout.building_slots == 0);
}

TEST_CASE("a generation that is built has the live lanes and those that are swept, and stays alone") {
  Layout layout = first_layout();
  open_next(layout, 8, kSecond, 0);
  open_next(layout, 16, 11 * kSecond, kSecond);
  drop_oldest(layout);
  begin_generation(layout, 2048);
  grow_by_built_generation(layout, Lsn{800});
  CHECK(layout.building_lines == 0);
  CHECK(layout.newest_generation().lanes == 3);
  CHECK(layout.newest_generation().first_lsn == Lsn{800});
  drop_older_generations(layout);
  CHECK(layout.generation_count == 1);
  CHECK(layout.newest_generation().lines == 2048);
  CHECK(layout.newest_generation().first_lsn == Lsn{});
}

TEST_CASE("an index grows by the spare table behind the others") {
  Layout layout = first_layout();
  open_next(layout, 8, kSecond, 0);
  layout.spare_table_slots = 2940;
  grow_index(layout, Lsn{8});
  CHECK(layout.current().tables == 2);
  CHECK(layout.current().slots[1] == 2940);
  CHECK(layout.spare_table_slots == 0);
}

TEST_CASE("a bucket that was planned for the fewest ids can grow to a thousand million of them") {
  std::uint64_t slots = IndexTable::slots_for(BucketRules::kMinPlannedIds);
  std::uint64_t ids = IndexTable::capacity_of(slots);
  for (unsigned tables = 1; tables < kMaxTables; ++tables) {
    const std::uint64_t next = next_table_slots(tables, slots);
    CHECK(next >= 2 * slots);
    CHECK(next <= 3 * ids * 4 / 3);  // No more than three times of what there is, so that memory follows the traffic.
    slots = next;
    ids += IndexTable::capacity_of(slots);
  }
  CHECK(ids >= 1'000'000'000);
  CHECK(next_table_slots(1, 1470) == 2940);
  CHECK(next_table_slots(kMaxTables - 1, kMaxSlots / 2) == kMaxSlots);
}

TEST_CASE("a filter grows by doubling at first, by more when there are many generations, and to 2^32 lines at most") {
  std::uint64_t lines = 512;
  std::uint64_t ids = FilterGeneration::capacity_of(lines);
  for (unsigned generations = 1; generations < kMaxGenerations; ++generations) {
    const std::uint64_t next = next_generation_lines(generations, lines);
    CHECK(next >= 2 * lines);
    lines = next;
    ids += FilterGeneration::capacity_of(lines);
  }
  CHECK(ids >= 10'000'000);
  CHECK(next_generation_lines(1, 512) == 1024);
  CHECK(next_generation_lines(kMaxGenerations - 1, FilterGeneration::kMaxLines / 2) == FilterGeneration::kMaxLines);
  CHECK(FilterGeneration::lines_for(std::uint64_t{1} << 35) == FilterGeneration::kMaxLines);
}

namespace {

/// Begins, finishes or uses a table that is built, for any bucket.
void change_tables(Layout& layout, std::mt19937_64& random, Lsn head) {
  if (layout.empty()) return;
  if (random() % 3 == 0) return drop_older_tables(layout, static_cast<unsigned>(random() % layout.bucket_count));
  layout.spare_table_slots = 0;
  if (layout.building_slots == 0) {
    if (layout.current().tables == kMaxTables) return;
    begin_table(layout, layout.buckets[random() % layout.bucket_count].number, 8 + random() % 10'000);
  } else if (layout.builds_current()) {
    if (layout.current().tables < kMaxTables) grow_by_built_table(layout, head);
  } else {
    unsigned position = 0;
    while (layout.buckets[position].number != layout.building_bucket) REQUIRE(++position < layout.bucket_count);
    replace_tables(layout, position);
  }
}

void change_generations(Layout& layout, std::mt19937_64& random, Lsn head) {
  layout.spare_generation_lines = 0;
  if (random() % 3 == 0) {
    adopt_lanes(layout);
    drop_older_generations(layout);
  } else if (layout.building_lines == 0) {
    begin_generation(layout, 256 + random() % 1024);
  } else if (layout.generation_count < kMaxGenerations) {
    grow_by_built_generation(layout, head);
  }
}

}  // namespace

TEST_CASE("whatever happens in whatever order, buckets stay ordered and a lane is live, sweeping or free") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  Layout layout = first_layout();
  std::uint64_t head = 8;
  std::int64_t now = kSecond;
  for (int step = 0; step < 20'000; ++step) {
    switch (random() % 10) {
      case 6:
      case 7:
        change_tables(layout, random, Lsn{head});
        break;
      case 8:
      case 9:
        change_generations(layout, random, Lsn{head});
        break;
      case 0:
      case 1:
        layout.spare_bucket_slots = 1470;
        if (can_open_bucket(layout)) open_bucket(layout, rules(), Lsn{head}, now, now - 1, now);
        break;
      case 2:
        if (!layout.empty()) drop_oldest(layout);
        break;
      case 3:
        finish_sweep(layout, layout.sweeping);
        break;
      case 4:
        layout.building_lines = 0;  // There is only one next generation.
        layout.spare_generation_lines = 256 + random() % 1024;
        if (!layout.empty() && layout.generation_count < kMaxGenerations) grow_filter(layout, Lsn{head});
        break;
      default:
        if (layout.empty() || layout.current().tables == kMaxTables) break;
        layout.spare_table_slots =
            next_table_slots(layout.current().tables, layout.current().slots[layout.current().tables - 1]);
        if (layout.spare_table_slots < 1U << 20) grow_index(layout, Lsn{8});
    }
    head += 8 * (random() % 100);
    now += static_cast<std::int64_t>(random() % 20) * kSecond;
    REQUIRE(layout.well_formed());
    REQUIRE((layout.live_lanes() & layout.sweeping) == 0);
    REQUIRE(static_cast<unsigned>(std::popcount(layout.live_lanes())) == layout.bucket_count);
    LaneMask written = 0;
    for (unsigned i = 0; i < layout.generation_count; ++i) written |= layout.generations[i].lanes;
    REQUIRE((layout.live_lanes() & ~written) == 0);
    for (unsigned i = 1; i < layout.bucket_count; ++i) {
      REQUIRE(layout.buckets[i - 1].number < layout.buckets[i].number);
      REQUIRE(layout.buckets[i - 1].first_lsn <= layout.buckets[i].first_lsn);
      REQUIRE(layout.buckets[i - 1].newest_us <= layout.buckets[i].slice_end_us);
    }
  }
}
