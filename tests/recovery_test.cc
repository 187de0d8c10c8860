#include "background/recovery.h"

#include <string>
#include <vector>

#include "recovered_parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

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

TEST_CASE("hints of earlier lives, set aside or not, are in no later one's way") {
  Parts parts;
  parts.append("a");
  for (int life = 0; life < 3; ++life) {
    // What the one before has left may still be there.
    std::filesystem::remove(parts.live_dir / "filter-1");
    parts.open();
    CHECK(knows(parts, "a"));
    for (const char* name : {"filter-1", "index-1-0"}) CHECK(std::filesystem::exists(parts.live_dir / name));
    if (life == 1) std::filesystem::copy_file(parts.live_dir / "filter-1", parts.live_dir / "filter-7.former");
  }
  while (parts.views->remove_set_aside()) {
  }
  for (const std::string& name : files_in(parts.live_dir, "")) CHECK_FALSE(is_set_aside(name));
  const FileStamp stamp = stamp_of(parts);
  parts.open();
  CHECK(stamp_of(parts) == stamp);  // Nothing that is in use was deleted.
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
