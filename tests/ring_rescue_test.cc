#include <fmt/format.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "background/log_writer.h"
#include "recovered_parts.h"
#include "shared/uncommitted.h"

// What recovery saves of a ring whose shared memory is replaced.

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

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
        BlockDirectory directory;
        Reader reader(parts.tables.env, *parts.tables.log, directory, parts.header(), parts.live->ring(), *parts.views);
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
