#include "background/upkeep.h"

#include "file_limit.h"
#include "parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

struct TestUpkeep : Parts {
  Upkeep upkeep{tables.env, *tables.log, identity.hash_seed, *live, *views, rules, *clock, 50ms};
  TestUpkeep() : Parts({.expected_ids = 1, .ring_bytes = std::uint64_t{1} << 20}) {}
  void tick_all() {
    while (upkeep.tick()) {
    }
  }
};

}  // namespace

TEST_CASE("a bucket is made ahead shortly before its time, and not earlier") {
  TestUpkeep test;
  test.append("a");
  REQUIRE(test.layout().spare_bucket_slots == 0);
  test.tick_all();
  CHECK(test.layout().spare_bucket_slots == 0);
  test.host.advance(10s - 1ms);
  test.tick_all();
  CHECK(test.layout().spare_bucket_slots != 0);
  CHECK(std::filesystem::exists(test.live_dir / index_name(2, 0)));
  test.upkeep.serve(Upkeep::Demand::bucket);
  CHECK(can_open_bucket(test.layout()));
}

TEST_CASE("what a producer demands is there when serve returns") {
  TestUpkeep test;
  test.append("a");
  test.upkeep.serve(Upkeep::Demand::bucket);
  CHECK(can_open_bucket(test.layout()));
  test.upkeep.serve(Upkeep::Demand::table);
  CHECK(test.layout().spare_table_slots > test.layout().current().slots[0]);
  CHECK(std::filesystem::exists(test.live_dir / index_name(1, 1)));
}

TEST_CASE("a larger table is made when the plan is reached, and not before; a filter grows later") {
  TestUpkeep test;
  for (int i = 0; i < 1023; ++i) test.append(std::to_string(i));
  test.tick_all();
  CHECK(files_in(test.live_dir, "index-").size() == 1);
  for (int i = 1023; i < 1040; ++i) test.append(std::to_string(i));
  test.tick_all();
  const BucketInfo bucket = test.layout().current();
  REQUIRE(bucket.tables == 2);  // There is nothing in the log that could be copied.
  CHECK(bucket.slots[1] > bucket.slots[0]);
  CHECK(files_in(test.live_dir, "index-").size() == 2);
  CHECK(files_in(test.live_dir, "filter-").size() == 1);
}

TEST_CASE("a bucket goes when its newest record is past retention; its lane is swept and its files are deleted") {
  TestUpkeep test;
  test.append("a");
  test.host.advance(10s);
  test.open_bucket();
  test.append("b");
  test.host.advance(70s - 1us);
  CHECK(test.upkeep.expire() == 0);
  test.host.advance(1us);
  const auto filter = test.views->newest()->generations.back();
  REQUIRE(filter->candidates(test.probe("a").hash) == 1);
  CHECK(test.upkeep.expire() == 1);
  CHECK(test.layout().bucket_count == 1);
  CHECK(test.layout().sweeping == 0);
  CHECK(free_lane(test.layout()) == 0U);
  CHECK(filter->candidates(test.probe("a").hash) == 0);
  CHECK(filter->candidates(test.probe("b").hash) == 2);
  CHECK(filter->count(0) == 0);
  CHECK_FALSE(std::filesystem::exists(test.live_dir / index_name(1, 0)));
  CHECK(std::filesystem::exists(test.live_dir / index_name(2, 0)));
  CHECK(test.header().counters.expired_buckets == 1);
}

TEST_CASE("the only bucket goes too, when the store's newest record is past retention") {
  TestUpkeep test;
  test.append("a");
  test.host.advance(80s);
  CHECK(test.upkeep.expire() == 1);
  CHECK(test.layout().empty());
  CHECK(test.upkeep.expire() == 0);
}

TEST_CASE("upkeep that another process has begun is finished by the next") {
  TestUpkeep test;
  test.append("a");
  Layout layout = test.layout();
  drop_oldest(layout);  // That one died before it swept.
  test.header().layout.publish(layout);
  test.tick_all();
  CHECK(test.layout().sweeping == 0);
  CHECK(test.views->newest()->generations.back()->candidates(test.probe("a").hash) == 0);
}

TEST_CASE("files of what has expired go although there is no room for new ones") {
  TestUpkeep test;
  test.append("a");
  test.host.advance(90s);
  {
    const FileLimit full(0);
    CHECK(error_code_of([&] { test.upkeep.tick(); }) == ErrorCode::full);
    CHECK(test.layout().empty());
    CHECK(files_in(test.live_dir, "index-").empty());
    CHECK(test.upkeep.expire() == 0);  // Is not there to make something, and so misses nothing.
  }
  test.tick_all();
  CHECK(can_open_bucket(test.layout()));
}

TEST_CASE("a bucket is made although there is no room for a filter of a better size") {
  TestUpkeep test;
  for (int i = 0; i < 1100; ++i) test.append(std::to_string(i));
  const std::uint64_t lines = test.layout().newest_generation().lines;
  REQUIRE(test.rules.next_generation(test.layout(), 2048) != 0);
  test.host.advance(10s - 1ms);
  {
    const FileLimit almost_full(50'000);
    CHECK(error_code_of([&] { test.upkeep.tick(); }) == ErrorCode::full);  // Told once ...
    CHECK(can_open_bucket(test.layout()));                                 // ... and of no harm.
    CHECK(test.layout().spare_generation_lines == 0);
    test.upkeep.serve(Upkeep::Demand::bucket);
    test.open_bucket();
  }
  CHECK(test.layout().newest_generation().lines == lines);
}

TEST_CASE("what cannot be made keeps nothing else from being made, and is told when it is what was demanded") {
  TestUpkeep test;
  test.append("a");
  std::filesystem::create_directory(test.live_dir / index_name(2, 0));  // In the next bucket's way.
  test.host.advance(10s - 1ms);
  CHECK(error_code_of([&] { test.upkeep.tick(); }) == ErrorCode::io);
  test.upkeep.serve(Upkeep::Demand::table);
  CHECK(test.layout().spare_table_slots != 0);
  CHECK(error_code_of([&] { test.upkeep.serve(Upkeep::Demand::bucket); }) == ErrorCode::io);
  std::filesystem::remove(test.live_dir / index_name(2, 0));
  test.upkeep.serve(Upkeep::Demand::bucket);
  CHECK(can_open_bucket(test.layout()));
}
