#include <fmt/format.h>

#include <functional>
#include <string>

#include "recovered_parts.h"

// What a rebuild makes of the rows that say where buckets begin.

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("a rebuild keeps the buckets that are live and leaves out those that are past") {
  Parts parts;
  for (int i = 0; i < 10; ++i) {
    parts.open_bucket();
    parts.append(std::to_string(i));
    parts.host.advance(10s);
  }
  parts.flush();
  parts.host.reboot();
  parts.open();
  const Layout layout = parts.layout();
  CHECK(layout.bucket_count == 7);  // Now is 100 s; live are those of 30 s to 90 s.
  CHECK(layout.buckets[0].number == 4);
  CHECK(layout.next_bucket == 11);
  for (int i = 0; i < 10; ++i) CHECK(knows(parts, std::to_string(i)) == (i >= 3));
  CHECK(can_open_bucket(layout));
}

TEST_CASE("more live buckets than lanes are joined, and none of their ids is lost") {
  Parts parts;
  for (int i = 0; i < 16; ++i) {
    parts.open_bucket();
    parts.append(std::to_string(i));
    parts.host.advance(5s);
  }
  parts.flush();
  parts.host.reboot();
  parts.host.step_wall(-40s);  // The clock was wrong.
  parts.open();
  CHECK(parts.layout().bucket_count == kMaxLiveBuckets - 1);
  for (int i = 0; i < 16; ++i) CHECK(knows(parts, std::to_string(i)));
  CHECK(can_open_bucket(parts.layout()));
  {
    // What a flush does with the rows of buckets that are gone leaves those of the joined ones to the next rebuild.
    lmdb::WriteTxn txn(parts.tables.env);
    parts.tables.catalog->drop_buckets_below(txn, parts.layout().buckets[0].number);
    txn.commit();
  }
  parts.host.reboot();
  parts.open();
  for (int i = 0; i < 16; ++i) CHECK(knows(parts, std::to_string(i)));
}

namespace {

/// A log of three buckets: one past its retention after a reboot, and two live ones.
class ThreeBuckets {
 public:
  ThreeBuckets() {
    for (int bucket = 0; bucket < 3; ++bucket) {
      parts.open_bucket();
      for (int i = 0; i < (bucket == 0 ? 10 : kInEach); ++i) parts.append(id(bucket, i));
      parts.flush();
      parts.host.advance(bucket == 0 ? 60s : 10s);
    }
    end = parts.head();
    newest_us_ = parts.header().marks.last_time_us.load();
  }

  void change_rows(const std::function<void(std::uint64_t, BucketRow&)>& change) {
    lmdb::WriteTxn txn(parts.tables.env);
    for (auto [number, row] : parts.tables.catalog->buckets(txn)) {
      change(number, row);
      parts.tables.catalog->put_bucket(txn, number, row);
    }
    txn.commit();
  }

  void drop_rows_below(std::uint64_t number) {
    lmdb::WriteTxn txn(parts.tables.env);
    parts.tables.catalog->drop_buckets_below(txn, number);
    txn.commit();
  }

  /// After a reboot, and after the next one.
  void check_opened() {
    parts.host.reboot();
    for (int opened = 0; opened < 2; ++opened) {
      parts.open();
      const FileStamp stamp = stamp_of(parts);
      for (int bucket = 1; bucket < 3; ++bucket) {
        for (int i = 0; i < kInEach; ++i) REQUIRE(knows(parts, id(bucket, i)));
      }
      if (!first_may_live) CHECK_FALSE(knows(parts, id(0, 0)));
      CHECK(parts.head() == end);
      CHECK(parts.header().marks.last_time_us == newest_us_);
      parts.open();
      CHECK(stamp_of(parts) == stamp);  // It is whole, and not rebuilt each time.
      parts.host.reboot();
    }
  }

  /// With much more in one bucket than its row says: it gets a larger table, and the filter another generation.
  void check_growth() {
    constexpr int kMany = 2'000;  // More than the smallest table holds.
    parts.open();
    for (int i = 0; i < kMany; ++i) {
      if (parts.views->newest()->buckets.back().newest_table().full()) grow();
      parts.append(id(9, i));
      if (i % 500 == 0) parts.flush();
    }
    parts.flush();
    change_rows([](std::uint64_t, BucketRow& row) { row.entries = 1; });
    parts.host.reboot();
    parts.open();
    CHECK(parts.layout().current().tables == 1);
    CHECK(parts.layout().current().slots[0] >= IndexTable::slots_for(kMany));
    CHECK(parts.layout().generation_count == 2);
    CHECK(parts.layout().newest_generation().lines >= FilterGeneration::lines_for(kMany));
    for (int i = 0; i < kMany; ++i) REQUIRE(knows(parts, id(9, i)));
    for (int i = 0; i < kInEach; ++i) REQUIRE(knows(parts, id(2, i)));
  }

  Parts parts{{.expected_ids = 1, .ring_bytes = std::uint64_t{64} << 10}};
  Lsn end;
  bool first_may_live = false;  // The log alone does not say that the first bucket is past.

 private:
  static constexpr int kInEach = 900;

  static std::string id(int bucket, int i) { return fmt::format("{}-{}", bucket, i); }

  void grow() {
    Layout next = parts.layout();
    next.spare_table_slots = next_table_slots(next.current().tables, next.current().slots[next.current().tables - 1]);
    parts.views->make_index(next.current().number, next.current().next_part(), next.spare_table_slots);
    grow_index(next, parts.head());
    parts.header().layout.publish(next);
  }

  std::int64_t newest_us_ = 0;
};

}  // namespace

TEST_CASE("bucket rows are hints: whatever they say, a sound log is opened with every live id, and no dead one") {
  ThreeBuckets three;
  SUBCASE("none is left") {
    three.drop_rows_below(99);
    three.first_may_live = true;
  }
  SUBCASE("the first one is lost") {
    three.drop_rows_below(3);
    three.first_may_live = true;
  }
  SUBCASE("they count no ids") {
    three.change_rows([](std::uint64_t, BucketRow& row) { row.entries = 0; });
  }
  SUBCASE("they count far too many") {
    three.change_rows([](std::uint64_t, BucketRow& row) { row.entries = ~std::uint64_t{0}; });
  }
  SUBCASE("their newest records seem to be long past") {
    three.change_rows([](std::uint64_t, BucketRow& row) { row.newest_us = 1; });
  }
  SUBCASE("their newest records seem to be to come") {
    three.change_rows([](std::uint64_t, BucketRow& row) { row.newest_us = kMaxTimeUs; });
  }
  SUBCASE("one begins after the log's end") {
    three.change_rows([](std::uint64_t number, BucketRow& row) {
      if (number == 2) row.first_lsn = 1 << 30;
    });
    three.first_may_live = true;
  }
  SUBCASE("the last one begins between two words") {
    three.change_rows([](std::uint64_t number, BucketRow& row) {
      if (number == 3) row.first_lsn += 4;
    });
  }
  SUBCASE("one begins within a record") {
    three.change_rows([](std::uint64_t number, BucketRow& row) {
      if (number == 3) row.first_lsn += 8;
    });
  }
  SUBCASE("all begin at 0") {
    three.change_rows([](std::uint64_t, BucketRow& row) { row.first_lsn = 0; });
    three.first_may_live = true;
  }
  SUBCASE("they are in the wrong order") {
    three.change_rows([&](std::uint64_t number, BucketRow& row) { row.first_lsn = three.end.value - number * 800; });
    three.first_may_live = true;
  }
  three.check_opened();
  three.check_growth();
}
