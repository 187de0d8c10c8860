#include "background/recovery.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "background/log_writer.h"
#include "parts.h"
#include "shared/uncommitted.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

bool knows(Parts& parts, std::string_view id) {
  Reader reader(parts.tables.env, *parts.tables.log, parts.header(), parts.live->ring(), *parts.views);
  return reader.look(reader.view(), parts.probe(id)).has_value();
}

FileStamp stamp_of(const Parts& parts) {
  return parts.live->stamp_for(FileKind::live, 0, 0, 0, 0);
}

}  // namespace

TEST_CASE("shared memory that is whole is used as it is, with what is not flushed") {
  Parts parts;
  parts.append("a");
  const FileStamp before = stamp_of(parts);
  parts.open();
  CHECK(stamp_of(parts) == before);
  CHECK(knows(parts, "a"));
  CHECK(parts.flushed() < parts.head());
}

TEST_CASE("when a derived file is lost, what was accepted is saved, and everything is made anew from the log") {
  Parts parts;
  parts.append("flushed");
  parts.flush();
  parts.append("only in the ring");
  const Lsn head = parts.head();
  const FileStamp before = stamp_of(parts);
  SUBCASE("the index") {
    std::filesystem::remove(parts.live_dir / "index-1-0");
  }
  SUBCASE("the filter") {
    std::filesystem::remove(parts.live_dir / "filter-1");
  }
  parts.open();
  CHECK(stamp_of(parts) != before);
  CHECK(knows(parts, "flushed"));
  CHECK(knows(parts, "only in the ring"));
  CHECK(parts.head() == head);
  CHECK(parts.flushed() == head);
  CHECK_FALSE(knows(parts, "neither"));
}

TEST_CASE("after a reboot what was flushed is known, and what was not is gone") {
  Parts parts;
  for (int i = 0; i < 1000; ++i) parts.append(std::to_string(i));
  parts.flush();
  const Lsn end = parts.head();
  parts.append("unflushed");
  parts.host.reboot();
  parts.open();
  for (int i = 0; i < 1000; ++i) REQUIRE(knows(parts, std::to_string(i)));
  CHECK_FALSE(knows(parts, "unflushed"));
  CHECK(parts.head() == end);
  CHECK(parts.header().marks.last_time_us == FakeHost::kStartUs);
}

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

TEST_CASE("while other processes use the store, unusable shared memory is an error and nothing is deleted") {
  Parts parts;
  parts.append("a");
  parts.open(false);  // As it is.
  CHECK(knows(parts, "a"));
  parts.host.reboot();
  CHECK(error_code_of([&] { parts.open(false); }) == ErrorCode::in_use);
  CHECK(std::filesystem::exists(parts.live_dir / "live"));
}

TEST_CASE("when the live directory changes, what is in the former one is saved") {
  Parts parts;
  parts.append("only in the ring");
  const std::filesystem::path former = parts.live_dir;
  parts.live_dir = parts.tables.dir / "elsewhere";
  parts.open(true, former);
  CHECK(knows(parts, "only in the ring"));
  CHECK(files_in(former, "").empty());
  CHECK(std::filesystem::exists(parts.live_dir / "live"));
}

TEST_CASE("shared memory whose time is earlier than the newest record's is made anew, and expires nothing") {
  Parts parts;
  parts.append("a");
  parts.flush();
  const FileStamp before = stamp_of(parts);
  parts.header().marks.last_time_us.store(FakeHost::kStartUs - 1);
  parts.open();
  CHECK(stamp_of(parts) != before);
  CHECK(parts.header().marks.last_time_us == FakeHost::kStartUs);
  CHECK(knows(parts, "a"));
}

TEST_CASE("a damaged record is reported, and no store is made of it") {
  Parts parts;
  parts.append("a");
  parts.append("b");
  RecordBuffer buffer;
  parts.live->ring().write(
      Lsn{8}, encode_record(buffer, {.scope = Parts::kScope, .id = "a", .digest = 1}, Lsn{8}, FakeHost::kStartUs));
  parts.flush();
  parts.host.reboot();
  CHECK(error_code_of([&] { parts.open(); }) == ErrorCode::corrupt);
}

TEST_CASE("bucket rows are hints: whatever they say, a sound log is opened with every live id, and no dead one") {
  // Three buckets: one past its retention after the reboot, and two live ones.
  Parts parts({.expected_ids = 1, .ring_bytes = std::uint64_t{64} << 10});
  constexpr int kEach = 2'000;  // More than the smallest table holds.
  const auto id = [](int bucket, int i) { return std::to_string(bucket) + "-" + std::to_string(i); };
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

TEST_CASE("a rebuild within the same boot goes on with the clock that a fault of the wall clock was measured by") {
  Parts parts;
  parts.append("a");
  parts.host.advance(1s);
  parts.host.step_wall(2h);
  const std::filesystem::path first_dir = parts.live_dir;
  SUBCASE("after a file was lost") {
    std::filesystem::remove(parts.live_dir / "index-1-0");
    parts.open();
  }
  SUBCASE("in another directory") {
    parts.live_dir = parts.tables.dir / "elsewhere";
    parts.open(true, first_dir);
  }
  SUBCASE("when an earlier one did not come to its end") {
    std::filesystem::remove(parts.live_dir / "index-1-0");
    std::filesystem::remove(parts.live_dir / "filter-1");
    std::filesystem::copy_file(parts.live_dir / "live", parts.live_dir / "live-new");
    parts.open();
  }
  SUBCASE("when an earlier one in another directory was done but for its last step") {
    parts.live_dir = parts.tables.dir / "elsewhere";
    parts.open(true, first_dir);
    parts.open(true, first_dir);
  }
  CHECK(parts.clock->fault_us() == std::chrono::microseconds(2h).count());
  CHECK(parts.clock->retention_us() == FakeHost::kStartUs + 1'000'000);
  CHECK(parts.layout().bucket_count == 1);
  CHECK(knows(parts, "a"));
  CHECK(files_in(parts.live_dir, "live") == std::vector<std::string>{"live"});
  parts.host.reboot();
  parts.open();
  CHECK(parts.clock->fault_us() == 0);
  CHECK_FALSE(knows(parts, "a"));
}

TEST_CASE("a rebuild within the same boot keeps the claims that outlive their owners, and tokens go on growing") {
  Parts parts;
  const ProcessIdentity dead{1 << 30, 1};
  const auto take = [&](std::string_view id, OrphanPolicy orphans) {
    const Probe one = parts.probe(id);
    const Lease* lease = parts.live->leases().take(one.hash, one.scope, id, dead, 5'000'000'000, orphans);
    REQUIRE(lease != nullptr);
    return lease->token.load();
  };
  const auto find = [&](std::string_view id) { return parts.live->leases().find(parts.probe(id).hash, Parts::kScope); };
  {
    lmdb::WriteTxn txn(parts.tables.env);
    parts.tables.catalog->put_number(txn, Catalog::Number::token_epoch, 7);
    txn.commit();
  }
  parts.header().leases.token_epoch.store(7);
  take("done with", OrphanPolicy::keep);
  const std::uint64_t after_lease = take("after its lease", OrphanPolicy::free_after_lease);
  const std::uint64_t never = take("never", OrphanPolicy::keep);
  const std::uint64_t last = take("at once", OrphanPolicy::free_at_once);
  parts.live->leases().free(*find("done with"));
  parts.options.max_claims = 1;  // Fewer than there are.
  SUBCASE("after a file was lost") {
    std::filesystem::remove(parts.live_dir / "filter-1");
    parts.open();
  }
  SUBCASE("in another directory") {
    const std::filesystem::path first_dir = parts.live_dir;
    parts.live_dir = parts.tables.dir / "elsewhere";
    parts.open(true, first_dir);
  }
  REQUIRE(find("never") != nullptr);
  REQUIRE(find("after its lease") != nullptr);
  CHECK(find("at once") == nullptr);
  CHECK(find("done with") == nullptr);
  CHECK(find("never")->token == never);
  CHECK(find("never")->orphans == OrphanPolicy::keep);
  CHECK(find("never")->owner() == dead);
  CHECK(find("never")->deadline_us == 5'000'000'000);
  CHECK(std::string_view(find("never")->id, find("never")->id_bytes) == "never");
  CHECK(find("after its lease")->token == after_lease);
  CHECK(parts.header().leases.held == 2);
  parts.live->leases().free(*find("never"));
  CHECK(take("never", OrphanPolicy::keep) > last);
  parts.host.reboot();
  parts.open();
  CHECK_FALSE(parts.live->leases().any());
}

TEST_CASE("a rebuild within the same boot keeps the line below which a size cap has forgotten") {
  Parts parts;
  parts.header().known_since_us.store(12'345);
  const std::filesystem::path filter = parts.live_dir / "filter-1";
  SUBCASE("") {
    std::filesystem::remove(filter);
  }
  SUBCASE("and has it on disk once the ring is saved, for the next boot") {
    parts.append("only in the ring");
    std::filesystem::remove(filter);
    parts.open();
    parts.host.reboot();
  }
  parts.open();
  CHECK(parts.header().known_since_us == 12'345);
}

TEST_CASE("hints that are older than the shared memory beside them, put back from a copy, are rebuilt") {
  enum class Since { nothing, marked, closed, outgrown };
  for (const char* copied : {"index-1-0", "filter-1"}) {
    for (const Since since : {Since::nothing, Since::marked, Since::closed, Since::outgrown}) {
      CAPTURE(copied);
      CAPTURE(static_cast<int>(since));
      Parts parts({.expected_ids = 1, .ring_bytes = std::uint64_t{64} << 10});
      const std::filesystem::path kept = parts.tables.dir / "kept";
      parts.append("early");
      if (since != Since::nothing) std::filesystem::copy_file(parts.live_dir / copied, kept);
      parts.append("late");
      if (since == Since::nothing) std::filesystem::copy_file(parts.live_dir / copied, kept);
      if (since == Since::closed) {
        parts.host.advance(10s);
        parts.open_bucket();
        parts.append("in the next bucket");
      }
      if (since == Since::outgrown) {
        Layout next = parts.layout();
        next.spare_table_slots = next_table_slots(1, next.current().slots[0]);
        parts.views->make_index(1, 1, next.spare_table_slots);
        grow_index(next, parts.head());
        next.spare_generation_lines = 2 * next.newest_generation().lines;
        parts.views->make_filter(next.next_generation, next.spare_generation_lines);
        grow_filter(next, parts.head());
        parts.header().layout.publish(next);
        parts.append("in the larger ones");
      }
      const FileStamp before = stamp_of(parts);
      // Over the same file, as cp does.
      std::filesystem::copy_file(kept, parts.live_dir / copied, std::filesystem::copy_options::overwrite_existing);
      parts.open();
      CHECK((stamp_of(parts) == before) == (since == Since::nothing));
      CHECK(knows(parts, "early"));
      CHECK(knows(parts, "late"));
    }
  }
}

TEST_CASE("records in the ring that do not match their checksums are not believed, and those around them are saved") {
  const std::string long_id(900, 'l');
  std::vector<std::string> lost;
  bool followed = true;
  SUBCASE("one") {
    lost = {"c"};
  }
  SUBCASE("several, some of them long") {
    lost = {"c", long_id, "e", long_id + "2"};
  }
  SUBCASE("all that follow") {
    lost = {"c", "e"};
    followed = false;
  }
  for (const bool header_too : {false, true}) {
    CAPTURE(header_too);
    Parts parts;
    parts.append("a");
    parts.flush();
    parts.append("b");
    const Lsn first = parts.head();
    for (const std::string& id : lost) {
      const Lsn lsn = parts.append(id);
      const auto header = parts.live->ring().stable_header(lsn);
      parts.live->ring().put_first_word(lsn, RecordHeader::first_word(header.checksum ^ 1, header.units_flags));
    }
    if (followed) parts.append("d");
    const Lsn head = parts.head();
    if (header_too) parts.header().marks.head.store(~std::uint64_t{0});
    const FileStamp before = stamp_of(parts);
    parts.open();
    CHECK(stamp_of(parts) != before);
    CHECK(knows(parts, "a"));
    CHECK(knows(parts, "b"));
    for (const std::string& id : lost) CHECK_FALSE(knows(parts, id));
    CHECK(knows(parts, "d") == followed);
    CHECK(parts.head() == (followed ? head : first));
    CHECK(parts.header().counters.damages == 1);
    CAPTURE(parts.damage);
    const auto says = [&](const std::string& words) { return parts.damage.find(words) != std::string::npos; };
    CHECK(says(fmt::format("{} records that were not on disk yet are saved", followed ? 2 : 1)));
    CHECK(says(fmt::format("damaged ones at 1 places, the first at LSN {}, are lost", first.value)) == followed);
    // A damaged header does not say up to where there were any.
    CHECK(says(fmt::format("those from LSN {} on are lost", first.value)) == (!followed && !header_too));
    parts.recovery().verify_log();
    parts.open();
    CHECK(parts.damage.empty());
  }
}

namespace {

/// Gives the clocks, the layout or the watermarks another value that the header contradicts.
void contradict_header(Parts& parts) {
  parts.header().ready.store(0);
}

}  // namespace

TEST_CASE("under a damaged header the ring is saved, claims are released, and the tokens' epoch is assigned again") {
  Parts parts;
  parts.append("flushed");
  parts.flush();
  // A flusher that died between its commit and the watermark.
  parts.append("flushed, and nobody knows");
  const Lsn flushed = parts.flushed();
  parts.flush();
  parts.header().marks.flushed.store(flushed.value);
  parts.append("in the ring");
  const Probe one = parts.probe("claimed");
  parts.header().leases.token_epoch.store(7);
  parts.live->leases().take(one.hash, one.scope, one.id, {1, 1}, 5'000'000'000, OrphanPolicy::keep);
  const Lsn head = parts.head();
  const std::filesystem::path first_dir = parts.live_dir;
  bool moved = false;
  SUBCASE("which nobody has finished") {
    contradict_header(parts);
  }
  SUBCASE("in another directory") {
    contradict_header(parts);
    moved = true;
    parts.live_dir = parts.tables.dir / "elsewhere";
  }
  SUBCASE("and a damaged layout") {
    std::memset(static_cast<void*>(&parts.header().layout), 0xFF, sizeof(LayoutCell));
  }
  SUBCASE("all of it") {
    std::memset(static_cast<void*>(&parts.header()), 0xFF, SharedState::kHeaderBytes);
  }
  SUBCASE("and claims") {
    std::memset(static_cast<void*>(&parts.header()), 0xFF,
                SharedState::kHeaderBytes + SharedState::lease_bytes(kDefaultMaxClaims));
  }
  SUBCASE("and no bucket rows") {
    contradict_header(parts);
    lmdb::WriteTxn txn(parts.tables.env);
    parts.tables.catalog->drop_buckets_below(txn, 99);
    txn.commit();
  }
  CHECK(error_code_of([&] { parts.recovery().open(moved ? first_dir : parts.live_dir, {}, false); }) ==
        ErrorCode::in_use);
  parts.open(true, moved ? first_dir : std::filesystem::path());
  for (const char* id : {"flushed", "flushed, and nobody knows", "in the ring"}) CHECK(knows(parts, id));
  CHECK(parts.head() == head);
  CHECK(parts.flushed() == head);
  CHECK_FALSE(parts.live->leases().any());
  CHECK(parts.header().leases.token_epoch == 0);
  CHECK(parts.header().counters.damages == 1);
  CAPTURE(parts.damage);
  CHECK(parts.damage.find((first_dir / "live").string()) == 0);
  CHECK(parts.damage.find(" 1 records that were not on disk yet are saved; all claims and locks are released") !=
        std::string::npos);
  parts.append("later");
  parts.flush();
  const FileStamp stamp = stamp_of(parts);
  parts.open();
  CHECK(parts.damage.empty());
  CHECK(stamp_of(parts) == stamp);
}

TEST_CASE("a damaged header does not have anything expire early, or be remembered for ever") {
  Parts parts;
  parts.append("a");
  parts.host.advance(1s);
  parts.host.step_wall(2h);  // Long after the retention, if it were right.
  std::int64_t offset_us = 0;
  SUBCASE("with the clock that was") {}
  SUBCASE("with a later one") {
    offset_us = std::chrono::microseconds(48h).count();
  }
  SUBCASE("with an earlier one") {
    offset_us = -std::chrono::microseconds(1h).count();
  }
  parts.header().clock.offset_us.fetch_add(offset_us);
  contradict_header(parts);
  parts.open();
  if (offset_us <= 0) CHECK(knows(parts, "a"));
  CHECK(parts.clock->stamp_us() == parts.host.wall_us());
}

TEST_CASE("a transaction that died with its records in the ring is settled, whatever is announced of it") {
  for (const bool committed : {false, true}) {
    for (int damage = 0; damage < 10; ++damage) {
      CAPTURE(committed);
      CAPTURE(damage);
      Parts parts;
      parts.append("flushed");
      parts.flush();
      const Lsn begin = parts.append("before");
      const std::uint64_t first = parts.head().value;
      Uncommitted uncommitted(*parts.live, parts.identity.hash_seed);
      uncommitted.announce(Lsn{first}, Lsn{first + record_bytes(3) + record_bytes(3)});
      parts.append("one", kUncommitted);
      const Lsn second = parts.append("two", kUncommitted);
      const Lsn end = parts.head();
      if (committed) {
        lmdb::WriteTxn txn(parts.tables.env);
        write_log(txn, *parts.tables.log, *parts.tables.catalog, parts.header(), parts.live->ring(), parts.layout(),
                  parts.flushed(), end,
                  [&](std::span<std::byte> block, Lsn lsn) { uncommitted.make_messages(block, lsn); });
        txn.commit();
      } else {
        parts.append("after");
      }
      PendingTransaction& pending = parts.header().pending;
      const std::array<std::pair<std::uint64_t, std::uint64_t>, 10> values{{{pending.begin, pending.end},
                                                                            {0, pending.end},
                                                                            {~std::uint64_t{0}, pending.end},
                                                                            {begin.value, pending.end},
                                                                            {second.value, pending.end},
                                                                            {first + 8, pending.end},
                                                                            {first, 0},
                                                                            {first, ~std::uint64_t{0}},
                                                                            {first, second.value},
                                                                            {first, end.value + 64}}};
      pending.begin.store(values[static_cast<std::size_t>(damage)].first);
      pending.end.store(values[static_cast<std::size_t>(damage)].second);
      for (const bool header_too : {false, true}) {
        if (header_too) contradict_header(parts);
        parts.open();
        if (damage == 0) CHECK(parts.damage.empty() == !header_too);
        // As the first flush does.
        std::optional<Lsn> log_end;
        {
          const lmdb::Txn txn(parts.tables.env, MDB_RDONLY);
          log_end = parts.tables.log->end(txn);
        }
        Uncommitted(*parts.live, parts.identity.hash_seed).settle(*log_end);
        if (parts.flushed() < *log_end) parts.header().marks.flushed.store(log_end->value);
        parts.flush();
        Reader reader(parts.tables.env, *parts.tables.log, parts.header(), parts.live->ring(), *parts.views);
        for (const char* id : {"flushed", "before"}) CHECK(reader.look(reader.view(), parts.probe(id)));
        CHECK(reader.look(reader.view(), parts.probe("after")).has_value() == !committed);
        for (const char* id : {"one", "two"}) {
          const auto found = reader.look(reader.view(), parts.probe(id));
          CHECK(found.has_value() == committed);
          if (found) CHECK_FALSE(found->uncommitted());
        }
        parts.recovery().verify_log();
      }
    }
  }
}

TEST_CASE("a head below what the index was told of is damaged, and nothing of it is believed") {
  Parts parts;
  parts.append("a");
  parts.append("b");
  const Lsn c = parts.append("c");
  const Lsn head = parts.head();
  SUBCASE("at a record") {
    parts.header().marks.head.store(c.value);
  }
  SUBCASE("where the ring begins") {
    parts.header().marks.head.store(8);
  }
  SUBCASE("between records") {
    parts.header().marks.head.store(c.value - 8);
  }
  parts.open();
  for (const char* id : {"a", "b", "c"}) CHECK(knows(parts, id));
  CHECK(parts.head() == head);
}

TEST_CASE("a record that its producer wrote and did not live to accept does not exist") {
  Parts parts;
  parts.append("accepted");
  const Lsn head = parts.head();
  RecordBuffer buffer;
  const RecordDraft draft{.scope = Parts::kScope, .id = "not", .digest = parts.probe("not").hash.digest()};
  parts.live->ring().write(head, encode_record(buffer, draft, head, FakeHost::kStartUs));
  SUBCASE("in shared memory that is used as it is") {}
  SUBCASE("in shared memory that is made anew") {
    std::filesystem::remove(parts.live_dir / "filter-1");
  }
  parts.open();
  CHECK(parts.head() == head);
  CHECK(knows(parts, "accepted"));
  CHECK_FALSE(knows(parts, "not"));
}

TEST_CASE("the newest record's time is that of the last record in the ring, or a little later") {
  Parts parts;
  parts.append("a");
  const FileStamp before = stamp_of(parts);
  auto& last_us = parts.header().marks.last_time_us;
  bool believed = false;
  SUBCASE("earlier") {
    last_us.store(0);
  }
  SUBCASE("to come") {
    last_us.store(FakeHost::kStartUs + 1'000'001);
  }
  SUBCASE("since") {
    last_us.store(FakeHost::kStartUs + 1'000'000);  // Of a mark that was not accepted.
    believed = true;
  }
  parts.host.advance(1s);
  parts.open();
  CHECK((stamp_of(parts) == before) == believed);
  CHECK(knows(parts, "a"));
  if (!believed) CHECK(parts.header().marks.last_time_us == FakeHost::kStartUs);
}

TEST_CASE("what the header says of tokens, of the past and of flushes is mended when the store is opened") {
  Parts parts;
  {
    lmdb::WriteTxn txn(parts.tables.env);
    parts.tables.catalog->put_number(txn, Catalog::Number::token_epoch, 7);
    parts.tables.catalog->put_number(txn, Catalog::Number::known_since_us, 1000);
    txn.commit();
  }
  const auto reopened = [&](auto change) -> const SharedHeader& {
    parts.header().known_since_us.store(2000);
    parts.header().leases.token_epoch.store(7);
    parts.header().leases.next_token.store(50);
    parts.header().leases.twin_token.store(50);
    change(parts.header());
    parts.open();
    return parts.header();
  };
  const auto sound = [](const SharedHeader&) {};
  CHECK(reopened(sound).known_since_us == 2000);
  CHECK(reopened(sound).leases.token_epoch == 7);
  CHECK(reopened(sound).leases.next_token == 50);
  CHECK(reopened([](SharedHeader& header) { header.known_since_us.store(-1); }).known_since_us == 1000);
  CHECK(reopened([](SharedHeader& header) { header.leases.token_epoch.store(8); }).leases.token_epoch == 0);
  CHECK(reopened([](SharedHeader& header) { header.leases.token_epoch.store(6); }).leases.token_epoch == 0);
  CHECK(reopened([](SharedHeader& header) { header.leases.next_token.store(48); }).leases.token_epoch == 0);
  CHECK(reopened([](SharedHeader& header) { header.leases.twin_token.store(49); }).leases.token_epoch == 7);
  CHECK(reopened([](SharedHeader& header) {
          header.counters.last_flush_at_us.store(kMaxTimeUs);
        }).counters.last_flush_at_us == 0);
  CHECK(reopened([](SharedHeader& header) { header.known_settles_at_us.store(kMaxTimeUs); }).known_settles_at_us ==
        parts.host.boot_us() + std::chrono::microseconds(1h).count());
}
