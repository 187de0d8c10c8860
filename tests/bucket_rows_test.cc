#include <fmt/format.h>

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

TEST_CASE("bucket rows are hints: whatever they say, a sound log is opened with every live id, and no dead one") {
  // Three buckets: one past its retention after the reboot, and two live ones.
  Parts parts({.expected_ids = 1, .ring_bytes = std::uint64_t{64} << 10});
  constexpr int kEach = 2'000;  // More than the smallest table holds.
  const auto id = [](int bucket, int i) { return fmt::format("{}-{}", bucket, i); };
  for (int bucket = 0; bucket < 3; ++bucket) {
    parts.open_bucket();
    for (int i = 0; i < (bucket == 0 ? 10 : 900); ++i) parts.append(id(bucket, i));
    parts.flush();
    parts.host.advance(bucket == 0 ? 60s : 10s);
  }
  const Lsn end = parts.head();
  const std::int64_t newest_us = parts.header().marks.last_time_us.load();
  bool first_bucket_may_live = false;
  const auto change_rows = [&](auto change) {
    lmdb::WriteTxn txn(parts.tables.env);
    for (auto [number, row] : parts.tables.catalog->buckets(txn)) {
      change(number, row);
      parts.tables.catalog->put_bucket(txn, number, row);
    }
    txn.commit();
  };
  SUBCASE("none is left") {
    lmdb::WriteTxn txn(parts.tables.env);
    parts.tables.catalog->drop_buckets_below(txn, 99);
    txn.commit();
    first_bucket_may_live = true;
  }
  SUBCASE("the first one is lost") {
    lmdb::WriteTxn txn(parts.tables.env);
    parts.tables.catalog->drop_buckets_below(txn, 3);
    txn.commit();
    first_bucket_may_live = true;
  }
  SUBCASE("they count no ids") {
    change_rows([](std::uint64_t, BucketRow& row) { row.entries = 0; });
  }
  SUBCASE("they count far too many") {
    change_rows([](std::uint64_t, BucketRow& row) { row.entries = ~std::uint64_t{0}; });
  }
  SUBCASE("their newest records seem to be long past") {
    change_rows([](std::uint64_t, BucketRow& row) { row.newest_us = 1; });
  }
  SUBCASE("their newest records seem to be to come") {
    change_rows([](std::uint64_t, BucketRow& row) { row.newest_us = kMaxTimeUs; });
  }
  SUBCASE("one begins after the log's end") {
    change_rows([](std::uint64_t number, BucketRow& row) {
      if (number == 2) row.first_lsn = 1 << 30;
    });
    first_bucket_may_live = true;
  }
  SUBCASE("the last one begins between two words") {
    change_rows([](std::uint64_t number, BucketRow& row) {
      if (number == 3) row.first_lsn += 4;
    });
  }
  SUBCASE("one begins within a record") {
    change_rows([](std::uint64_t number, BucketRow& row) {
      if (number == 3) row.first_lsn += 8;
    });
  }
  SUBCASE("all begin at 0") {
    change_rows([](std::uint64_t, BucketRow& row) { row.first_lsn = 0; });
    first_bucket_may_live = true;
  }
  SUBCASE("they are in the wrong order") {
    change_rows([&](std::uint64_t number, BucketRow& row) { row.first_lsn = end.value - number * 800; });
    first_bucket_may_live = true;
  }
  parts.host.reboot();
  for (int opened = 0; opened < 2; ++opened) {
    parts.open();
    const FileStamp stamp = stamp_of(parts);
    for (int bucket = 1; bucket < 3; ++bucket) {
      for (int i = 0; i < 900; ++i) REQUIRE(knows(parts, id(bucket, i)));
    }
    if (!first_bucket_may_live) CHECK_FALSE(knows(parts, id(0, 0)));
    CHECK(parts.head() == end);
    CHECK(parts.header().marks.last_time_us == newest_us);
    parts.open();
    CHECK(stamp_of(parts) == stamp);  // It is whole, and not rebuilt each time.
    parts.host.reboot();
  }
  // Much more in one bucket than its row says: the tables and the filter grow while the log is read.
  parts.open();
  for (int i = 0; i < kEach; ++i) {
    if (parts.views->newest()->buckets.back().newest_table().full()) {
      Layout next = parts.layout();
      next.spare_table_slots = next_table_slots(next.current().tables, next.current().slots[next.current().tables - 1]);
      parts.views->make_index(next.current().number, next.current().tables, next.spare_table_slots);
      grow_index(next, parts.head());
      parts.header().layout.publish(next);
    }
    parts.append(id(9, i));
    if (i % 500 == 0) parts.flush();
  }
  parts.flush();
  change_rows([](std::uint64_t, BucketRow& row) { row.entries = 1; });
  parts.host.reboot();
  parts.open();
  CHECK(parts.layout().current().tables > 1);
  CHECK(parts.layout().generation_count > 1);
  for (int i = 0; i < kEach; ++i) REQUIRE(knows(parts, id(9, i)));
  for (int i = 0; i < 900; ++i) REQUIRE(knows(parts, id(2, i)));
}
