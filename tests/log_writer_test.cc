#include "background/log_writer.h"

#include <random>
#include <vector>

#include "parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("blocks hold whole records, the same bytes as the ring, and are as full as they can be") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  Parts parts({.ring_bytes = std::uint64_t{1} << 20});
  struct Known {
    Lsn lsn;
    std::string id;
  };
  std::vector<Known> known;
  while (parts.head().value + kMaxPlainRecordBytes < std::uint64_t{1} << 20) {
    const std::string id = std::to_string(known.size()) + std::string(random() % 1000, 'x');
    known.push_back({parts.append(id), id});
  }
  std::vector<std::byte> ring(parts.head().value - 8);
  parts.live->ring().copy_stable(Lsn{8}, ring);
  parts.flush();

  const std::size_t most = Log::max_block_bytes(parts.tables.env);
  lmdb::ReadTxn txn(parts.tables.env, parts.tables.log->dbi());
  const lmdb::ReadTxn::Active active(txn);
  std::vector<std::byte> log;
  std::size_t next = 0;
  for (auto block = Log::block_at(txn, Lsn{8}); block; block = Log::block_at(txn, block->end())) {
    REQUIRE(block->lsn.value == 8 + log.size());
    REQUIRE(block->bytes.size() <= most);
    for (lmdb::Bytes rest = block->bytes; !rest.empty();) {
      const auto record = decode_record(rest);
      REQUIRE(record);
      REQUIRE(known[next].lsn.value == block->end().value - rest.size());
      REQUIRE(known[next].id == record->id);
      ++next;
      rest = rest.subspan(record->header.bytes());
    }
    if (next < known.size()) REQUIRE(block->bytes.size() + record_bytes(known[next].id.size()) > most);
    log.insert(log.end(), block->bytes.begin(), block->bytes.end());
  }
  CHECK(next == known.size());
  CHECK(log == ring);
}

TEST_CASE("the rows of buckets count their records and keep the newest one's time, over many flushes") {
  Parts parts;
  const auto row = [&](std::uint64_t number) {
    const lmdb::Txn txn(parts.tables.env, MDB_RDONLY);
    return parts.tables.catalog->bucket(txn, number);
  };
  for (int i = 0; i < 10; ++i) parts.append(std::string("a").append(std::to_string(i)));
  parts.flush();
  CHECK(row(1)->entries == 10);
  parts.append("b");
  parts.host.advance(10s);
  parts.open_bucket();
  const Lsn second = parts.head();
  for (int i = 0; i < 5; ++i) parts.append(std::string("c").append(std::to_string(i)));
  CHECK_FALSE(row(2));
  parts.flush();  // One flush, two buckets.
  CHECK(row(1)->entries == 11);
  CHECK(row(1)->first_lsn == 8);
  CHECK(row(1)->newest_us == FakeHost::kStartUs);
  CHECK(row(1)->slice_begin_us == FakeHost::kStartUs);
  CHECK(row(2)->entries == 5);
  CHECK(row(2)->first_lsn == second.value);
  CHECK(row(2)->newest_us == FakeHost::kStartUs + 10'000'000);
}

TEST_CASE("records of a bucket that is gone already are written without a row") {
  Parts parts;
  parts.append("a");
  Layout layout = parts.layout();
  drop_oldest(layout);
  parts.header().layout.publish(layout);
  parts.flush();
  const lmdb::Txn txn(parts.tables.env, MDB_RDONLY);
  CHECK(parts.tables.catalog->buckets(txn).empty());
  CHECK(parts.tables.log->end(txn) == parts.head());
}

TEST_CASE("what is no record in the ring is damage, and nothing of it reaches the log") {
  Parts parts;
  parts.append("a");
  const Lsn damaged = parts.append("b");
  RecordBuffer nonsense;
  nonsense.fill(0x0101010101010101);
  SUBCASE("a header of nonsense") {
    parts.live->ring().write(damaged, std::span(nonsense).first(3));
  }
  SUBCASE("a record that goes on beyond head") {
    const std::string longer(100, 'x');
    RecordBuffer buffer;
    parts.live->ring().write(damaged, encode_record(buffer, {.scope = 1, .id = longer}, damaged, 1));
  }
  CHECK(error_code_of([&] { parts.flush(); }) == ErrorCode::corrupt);
  const lmdb::Txn txn(parts.tables.env, MDB_RDONLY);
  CHECK_FALSE(parts.tables.log->end(txn));
}

TEST_CASE("whoever writes the log also notes what was forgotten: the rows that are gone, and since when all is known") {
  Parts parts;
  parts.append("a");
  parts.flush();
  parts.host.advance(10s);
  parts.open_bucket();
  parts.append("b");
  parts.flush();
  Layout layout = parts.layout();
  drop_oldest(layout);
  parts.header().layout.publish(layout);
  const auto stored = [&](const auto& ask) {
    const lmdb::Txn txn(parts.tables.env, MDB_RDONLY);
    return ask(*parts.tables.catalog, txn);
  };
  const auto rows = [&] { return stored([](const auto& catalog, const auto& txn) { return catalog.buckets(txn); }); };
  const auto known_since = [&] {
    return stored(
        [](const auto& catalog, const auto& txn) { return catalog.number(txn, Catalog::Number::known_since_us); });
  };
  parts.header().known_since_us.store(5'000);
  CHECK(rows().size() == 2);
  parts.append("c");
  parts.flush();
  REQUIRE(rows().size() == 1);
  CHECK(rows()[0].first == 2);
  CHECK(known_since() == 5'000);
  parts.header().known_since_us.store(4'000);  // It lay in the future.
  parts.append("d");
  parts.flush();
  CHECK(known_since() == 4'000);
  lmdb::WriteTxn txn(parts.tables.env);
  CHECK_FALSE(keep_forgotten(txn, *parts.tables.catalog, parts.header(), parts.layout()));
}
