#include "background/sorted_hints.h"

#include <algorithm>
#include <map>

#include "background/read_log.h"
#include "parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// A log of some MiB, with a chain in it.
struct Records : Parts {
  static constexpr int kCount = 3'000;

  Records() : Parts({.expected_ids = 8 * kCount, .ring_bytes = std::uint64_t{1} << 20}) {
    const std::string result(2'000, 'r');
    const Attributes plain{.result = result};
    const Attributes chained{.correlation = "chain", .result = result};
    Lsn previous;
    for (int i = 0; i < kCount; ++i) {
      if (i % 10 == 0) {
        previous = append(std::to_string(i), 0, &chained, previous);
      } else {
        append(std::to_string(i), 0, &plain);
      }
      if (i % 200 == 0) flush();
    }
    flush();
  }

  CopyRange all() const { return {Lsn{8}, Lsn{8}, flushed(), true}; }

  SortedHints read(const CopyRange& range, unsigned threads, std::uint64_t most_bytes = ~std::uint64_t{0} / 2) {
    lmdb::ReadTxn txn(tables.env, tables.log->dbi());
    const lmdb::ReadTxn::Active active(txn);
    return read_sorted({txn, identity.hash_seed, range, most_bytes, 1h, true, true}, threads);
  }

  /// LSN and hash of what is in the log.
  std::map<std::uint64_t, MessageHash> in_log(const CopyRange& range) {
    std::map<std::uint64_t, MessageHash> records;
    lmdb::ReadTxn txn(tables.env, tables.log->dbi());
    const lmdb::ReadTxn::Active active(txn);
    read_log(txn, tables.env.path(), range.from, identity.hash_seed,
             [&](const RecordView&, const MessageHash& hash, Lsn lsn) {
               if (range.holds(lsn)) records[lsn.value] = hash;
             });
    return records;
  }
};

std::map<std::uint64_t, MessageHash> records_for(const SortedHints& hints, HintRun::Into into) {
  std::map<std::uint64_t, MessageHash> records;
  for (const HintRun& run : hints.runs) {
    if (run.into != into) continue;
    for (const CopiedRecord& record : run.records) CHECK(records.emplace(record.lsn.value, record.hash).second);
  }
  return records;
}

}  // namespace

TEST_CASE("any number of threads reads each record once for the table and once for the filter") {
  Records log;
  const auto expected = log.in_log(log.all());
  REQUIRE(expected.size() == Records::kCount);
  for (const unsigned threads : {1U, 2U, 4U}) {
    const SortedHints hints = log.read(log.all(), threads);
    CHECK(hints.end == log.flushed());
    CHECK(hints.damaged == Lsn{});
    CHECK(records_for(hints, HintRun::Into::table) == expected);
    CHECK(records_for(hints, HintRun::Into::filter) == expected);
  }
}

TEST_CASE("runs go through a table from its beginning to its end, and through a filter") {
  Records log;
  constexpr std::uint64_t kPlaces = 256;
  for (const HintRun& run : log.read(log.all(), 2).runs) {
    std::uint64_t last = 0;
    for (const CopiedRecord& record : run.records) {
      const std::uint64_t place =
          run.into == HintRun::Into::table ? record.hash.home(kPlaces) : record.hash.line(kPlaces);
      REQUIRE(place >= last);
      last = place;
    }
  }
}

TEST_CASE("the links of a chain are joined for the table, and the filter gets each of them") {
  Records log;
  const SortedHints hints = log.read(log.all(), 4);
  REQUIRE(hints.links.size() == Records::kCount / 10);
  const Lsn last = std::ranges::max(hints.links, {}, [](const CopiedLink& link) { return link.lsn; }).lsn;
  REQUIRE(hints.chains.size() == 1);
  CHECK(hints.chains[0].previous == Lsn{});
  CHECK(hints.chains[0].lsn == last);
}

TEST_CASE("only links that follow each other are joined") {
  const auto chain = [](const char* name) { return MessageHash(7, name); };
  const std::vector<CopiedLink> chains = joined({{chain("a"), Lsn{80}, Lsn{64}},
                                                 {chain("b"), Lsn{72}, Lsn{8}},
                                                 {chain("a"), Lsn{64}, Lsn{16}},
                                                 {chain("a"), Lsn{96}, Lsn{88}}});
  REQUIRE(chains.size() == 3);
  const auto count = [&](const char* name, Lsn lsn, Lsn previous) {
    return std::ranges::count_if(chains, [&](const CopiedLink& one) {
      return one.correlation == chain(name) && one.lsn == lsn && one.previous == previous;
    });
  };
  CHECK(count("a", Lsn{80}, Lsn{16}) == 1);
  CHECK(count("a", Lsn{96}, Lsn{88}) == 1);
  CHECK(count("b", Lsn{72}, Lsn{8}) == 1);
}

TEST_CASE("what is read a few bytes at a time is all of it, and no record twice") {
  Records log;
  std::map<std::uint64_t, MessageHash> records;
  CopyRange range = log.all();
  int stretches = 0;
  for (; range.left(); ++stretches) {
    const SortedHints hints = log.read(range, 2, 300'000);
    REQUIRE(hints.end > range.from);
    for (const auto& record : records_for(hints, HintRun::Into::table)) {
      REQUIRE(record.first < hints.end.value);
      REQUIRE(records.insert(record).second);
    }
    range.from = hints.end;
  }
  CHECK(stretches > 10);
  CHECK(range.from == log.flushed());
  CHECK(records == log.in_log(log.all()));
}

TEST_CASE("a range that begins and ends within blocks has the records that begin in it") {
  Records log;
  CopyRange range = log.all();
  range.from = Lsn{1'000'008};
  range.to = Lsn{2'000'008};
  const SortedHints hints = log.read(range, 2);
  CHECK(hints.end == range.to);
  CHECK(records_for(hints, HintRun::Into::filter) == log.in_log(range));
}

TEST_CASE("of damaged records the first one is named, and what is before the range's beginning is not looked at") {
  Records log;
  const auto before = log.in_log(log.all());
  const auto damage = [&](Lsn lsn, std::size_t at = 0) {  // The record at this place of the block that has it.
    lmdb::WriteTxn txn(log.tables.env);
    lmdb::ReadTxn read(log.tables.env, log.tables.log->dbi());
    const lmdb::ReadTxn::Active active(read);
    const auto block = Log::block_at(read, lsn);
    std::vector<std::byte> bytes(block->bytes.begin(), block->bytes.end());
    bytes[at + 40] ^= std::byte{1};
    txn.put(log.tables.log->dbi(), lmdb::to_val(block->lsn.value), bytes);
    txn.commit();
    return block->lsn;
  };
  const Lsn second = damage(Lsn{4'000'000});
  const Lsn first = damage(Lsn{2'000'000});
  CopyRange range = log.all();
  for (const unsigned threads : {1U, 4U}) CHECK(log.read(range, threads).damaged == first);
  const Lsn next{before.upper_bound(first.value)->first};
  range.begin = range.from = next;
  CHECK(log.read(range, 2).damaged == second);
  range.to = second;
  CHECK(log.read(range, 2).damaged == Lsn{});
  // The last block goes on beyond a range that ends within it.
  const auto block_of = [&](Lsn lsn) {
    lmdb::ReadTxn txn(log.tables.env, log.tables.log->dbi());
    const lmdb::ReadTxn::Active active(txn);
    return Log::block_at(txn, lsn)->lsn;
  };
  range.begin = range.from = block_of(Lsn{5'000'000});
  range.to = Lsn{before.upper_bound(range.from.value)->first};
  damage(range.from, range.to.value - range.from.value);
  CHECK(log.read(range, 1).damaged == Lsn{});
  CHECK(log.read(range, 1).end == range.to);
}
