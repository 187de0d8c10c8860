#include "background/hint_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "log/intact_record.h"
#include "maintenance/hint_check.h"
#include "recovered_parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// A store of three buckets, the second one so large that each of seven threads has a part of it. Its records are of
/// all kinds: ids that come again, that were forgotten, void ones, and chains that run over all buckets.
class ManyRecords {
 public:
  /// Before the records of these numbers in the large bucket a damaged one.
  explicit ManyRecords(const std::set<std::uint64_t>& damaged_before = {})
      : parts({.expected_ids = kIdsABucket * 8, .ring_bytes = kRingBytes}, 8, 80s, std::uint64_t{256} << 20) {
    for (const std::uint64_t appended : {kSmall, large, kSmall}) {
      parts.host.advance(10s);
      parts.open_bucket();  // Amid a block of the log.
      for (std::uint64_t i = 0; i < appended; ++i) {
        if (appended == large && damaged_before.contains(i)) append_damaged();
        append();
      }
      records.push_back(all.size() - voids_ - std::accumulate(records.begin(), records.end(), std::uint64_t{0}));
    }
    parts.flush();
  }

  /// The record that a look-up has to find: the newest of its id. Void ones do not count.
  std::map<std::string, Lsn> newest;
  std::map<std::string, Lsn> chains;  // By correlation: its newest record.
  std::vector<Lsn> all;               // Each record that is whole, in the log's order.
  std::vector<Lsn> damaged;
  std::vector<std::uint64_t> records;  // Of each bucket, but for void ones.

  static constexpr std::uint64_t kIdsABucket = 40'000;
  static constexpr std::uint64_t kRingBytes = std::uint64_t{8} << 20;
  static constexpr std::uint64_t kSmall = 2'000;
  /// Where sanitizers make all slow, two threads have parts.
  const std::uint64_t large = scaled(36'000, 12'000);

  Parts parts;

  void append() {
    // Long ids make a large log of few records.
    std::string id = std::to_string(random_() % 4 == 0 ? random_() % 1000 : next_++);
    id.resize(random_() % 8 == 0 ? 20 : 1000, 'x');
    make_room_in_ring();
    const std::uint64_t kind = random_() % 32;
    if (kind < 4) return append_to_chain(id, "c" + std::to_string(kind == 0 ? 0 : random_() % 500));
    const std::uint32_t flags = kind == 5 ? std::uint32_t{kForgotten} : kind == 6 ? std::uint32_t{kVoid} : 0;
    const Lsn lsn = parts.append(id, flags);
    all.push_back(lsn);
    if (flags != kVoid) newest[id] = lsn;
    voids_ += flags == kVoid;
  }

  void reopen(unsigned processors) {
    parts.host.reboot();
    parts.host.set_processors(processors);
    parts.open();
  }

  void check_found() {
    BlockDirectory directory;
    Reader reader(parts.tables.env, *parts.tables.log, directory, parts.header(), parts.live->ring(), *parts.views);
    for (const auto& [id, lsn] : newest) {
      const auto found = reader.look(reader.view(), parts.probe(id));
      REQUIRE(found);
      REQUIRE(found->lsn == lsn);
    }
    for (const auto& [correlation, lsn] : chains) {
      const std::uint64_t seed = MessageHash::scope_seed(parts.identity.hash_seed, MessageHash::kCorrelationScope);
      const Probe probe{correlation, MessageHash::kCorrelationScope, MessageHash(seed, correlation),
                        MessageHash::Of::correlation};
      const auto found = reader.look(reader.view(), probe);
      REQUIRE(found);
      REQUIRE(found->lsn == lsn);
    }
    CHECK_FALSE(knows(parts, "never"));
  }

  /// As `verify` does.
  void check_hints() {
    HintCheck check(*parts.views, parts.identity.hash_seed, [](std::int64_t) { return true; });
    lmdb::ReadTxn txn(parts.tables.env, parts.tables.log->dbi());
    const lmdb::ReadTxn::Active active(txn);
    std::uint64_t seen = 0;
    for (auto block = Log::block_at(txn, SharedState::kFirstLsn); block; block = Log::block_at(txn, block->end())) {
      for_each_record(
          block->bytes, block->lsn, parts.identity.hash_seed,
          [&](const RecordView& record, const MessageHash& hash, Lsn lsn) {
            ++seen;
            check.look(record, hash, lsn);
          },
          [](Lsn, lmdb::Bytes) { FAIL("a damaged record"); });
    }
    CHECK(seen == all.size());
    VerifyReport report;
    Problems problems(report, 10);
    check.report(problems);
    CHECK(report.problems.empty());
  }

 private:
  /// A record whose checksum does not hold.
  void append_damaged() {
    make_room_in_ring();
    damaged.push_back(parts.append("damaged"));
    RecordBuffer buffer;
    const RecordDraft draft{.scope = Parts::kScope, .id = "damaged", .digest = 1};
    const auto record = encode_record(buffer, draft, damaged.back(), parts.header().marks.last_time_us.load());
    parts.live->ring().write(damaged.back(), record);
  }

  void make_room_in_ring() {
    if (parts.head().value - parts.flushed().value > kRingBytes / 2) parts.flush();
  }

  void append_to_chain(const std::string& id, const std::string& correlation) {
    const auto before = chains.find(correlation);
    const Lsn lsn = parts.append(id, 0, &attributes_.emplace_back(Attributes{.correlation = correlation}),
                                 before == chains.end() ? Lsn{} : before->second);
    attributes_.clear();
    all.push_back(lsn);
    newest[id] = chains[correlation] = lsn;
  }

  std::mt19937_64 random_{7};
  std::uint64_t next_ = 1000;
  std::uint64_t voids_ = 0;
  std::vector<Attributes> attributes_;
};

/// All that a rebuild makes, but for the order of entries that met at the same slots.
struct Hints {
  explicit Hints(Parts& parts) : layout(parts.layout()), newest_us(parts.header().marks.last_time_us.load()) {
    const auto view = parts.views->newest();
    for (const View::Bucket& bucket : view->buckets) {
      for (const auto& table : bucket.tables) {
        std::vector<std::uint64_t> slots(table->slots());
        for (std::uint64_t at = 0; at < slots.size(); ++at) slots[at] = table->words()[at].load();
        std::ranges::sort(slots);
        tables.push_back(std::move(slots));
        counts.insert(counts.end(), {table->count(), table->records(), table->reached().value, table->occupied()});
        CHECK(table->count() >= table->occupied());
      }
      for (const auto& generation : view->generations) {
        counts.insert(counts.end(), {generation->count(bucket.info.lane), generation->reached(bucket.info.lane).value});
      }
    }
    for (const GenerationInfo& info : std::span(layout.generations).first(layout.generation_count)) {
      std::vector<std::uint64_t> words(info.lines * FilterGeneration::kWordsPerLine);
      MappedFile::read(parts.views->filter_path(info.number), kFileHeaderBytes,
                       std::as_writable_bytes(std::span(words)));
      filters.push_back(std::move(words));
    }
    layout.checksum = 0;  // Of the epoch, too.
  }

  void check_same(const Hints& other) const {
    CHECK(std::memcmp(&layout, &other.layout, sizeof layout) == 0);
    CHECK(newest_us == other.newest_us);
    CHECK(counts == other.counts);
    CHECK((tables == other.tables));
    CHECK((filters == other.filters));
  }

  Layout layout;
  std::int64_t newest_us;
  std::vector<std::vector<std::uint64_t>> tables;
  std::vector<std::vector<std::uint64_t>> filters;
  std::vector<std::uint64_t> counts;
};

void change_rows(Parts& parts, const std::function<void(BucketRow&)>& change) {
  lmdb::WriteTxn txn(parts.tables.env);
  for (auto [number, row] : parts.tables.catalog->buckets(txn)) {
    change(row);
    parts.tables.catalog->put_bucket(txn, number, row);
  }
  txn.commit();
}

}  // namespace

TEST_CASE("any number of threads makes the same hints of a log, which lead to every record and chain") {
  ManyRecords store;
  std::optional<Hints> of_one;
  for (const unsigned threads : {1U, 2U, 3U, 7U}) {
    CAPTURE(threads);
    store.reopen(threads);
    REQUIRE(store.parts.layout().bucket_count == 3);
    const auto view = store.parts.views->newest();
    for (unsigned i = 0; i < 3; ++i) CHECK(view->buckets[i].records() == store.records[i]);
    store.check_found();
    store.check_hints();
    const Hints hints(store.parts);
    if (of_one) hints.check_same(*of_one);
    if (!of_one) of_one.emplace(hints);
  }
}

TEST_CASE("tables and filters that are too small by their rows are made larger, for any number of threads") {
  ManyRecords store;
  // Nothing says any more how many there are.
  store.parts.options.expected_ids = 1;
  change_rows(store.parts, [](BucketRow& row) { row.entries = 1; });
  std::optional<Hints> of_one;
  for (const unsigned threads : {1U, 2U, 7U}) {
    CAPTURE(threads);
    store.reopen(threads);
    const Layout layout = store.parts.layout();
    CHECK(layout.generation_count == 3);  // For each bucket, and none larger than the first needs.
    for (unsigned i = 0; i < layout.bucket_count; ++i) CHECK(layout.buckets[i].tables == 1);
    store.check_found();
    store.check_hints();
    const Hints hints(store.parts);
    if (of_one) hints.check_same(*of_one);
    if (!of_one) of_one.emplace(hints);
  }
}

TEST_CASE("of several damaged records the first in the log is reported, whichever thread finds it") {
  // So many that the threads after the first find theirs sooner.
  std::set<std::uint64_t> many;
  for (std::uint64_t i = 5'500; i < 11'000; i += 10) many.insert(i);
  for (const std::set<std::uint64_t>& before : {std::set<std::uint64_t>{0}, {11'999}, many}) {
    ManyRecords store(before);
    for (const unsigned threads : {1U, 2U, 7U}) {
      CAPTURE(threads);
      CAPTURE(*before.begin());
      const std::string sentence = error_text_of([&] { store.reopen(threads); });
      CHECK(sentence.find(fmt::format("LSN {} of data.mdb is damaged", store.damaged[0].value)) != std::string::npos);
      CHECK(error_code_of([&] { store.reopen(threads); }) == ErrorCode::corrupt);
    }
  }
}

TEST_CASE("hints that are there are kept, and only what is newer is read of the log") {
  // What is older could not be read.
  ManyRecords store({100});
  Parts& parts = store.parts;
  const std::size_t before = store.all.size();
  const Lsn end = parts.head();
  Layout layout = parts.layout();
  HintBuilder::ReadFrom from{};
  for (unsigned i = 0; i < layout.bucket_count; ++i) from[i] = end;
  const auto records_of_last = [&] { return parts.views->newest()->buckets.back().records(); };
  const std::uint64_t records_before = records_of_last();
  // Records that no hint leads to yet.
  const auto append_to_log = [&](std::uint64_t records) {
    const auto view = parts.views->newest();
    std::vector<std::uint64_t> buffer;
    for (std::uint64_t i = 0; i < records; ++i) {
      const std::string id = "late " + std::to_string(i) + std::string(500, 'x');
      const Lsn lsn = parts.head();
      const RecordDraft draft = RecordDraft::of(Parts::kScope, id, parts.probe(id).hash.digest());
      buffer.resize(draft.bytes() / kRecordUnit);
      const auto record = encode_record(buffer, draft, lsn, parts.header().marks.last_time_us.load());
      if (lsn.value + record.size_bytes() > parts.flushed().value + parts.live->ring().bytes()) parts.flush();
      parts.live->ring().write(lsn, record);
      parts.header().marks.head.store(lsn.value + record.size_bytes());
      store.newest[id] = lsn;
    }
    parts.flush();
  };
  const auto the_filter = [&]() -> FilterGeneration& { return *parts.views->newest()->generations[0]; };
  const auto build = [&](unsigned threads) {
    HintBuilder(parts.tables.env, *parts.tables.log, parts.identity.hash_seed, *parts.live, *parts.views, layout,
                threads)
        .run(from);
  };
  SUBCASE("as many as there is room for") {
    append_to_log(10'000);
    build(3);
    CHECK(parts.layout().current().tables == 1);
    CHECK(records_of_last() == records_before + 10'000);
  }
  SUBCASE("more, which get a table of their own") {
    append_to_log(50'000);
    build(3);
    CHECK(parts.layout().current().tables == 2);
    CHECK(parts.layout().current().table_lsn[1] == end);
    CHECK(parts.layout().generation_count == 2);
  }
  SUBCASE("none") {
    build(3);
    CHECK(records_of_last() == records_before);
  }
  SUBCASE("no generation is made that would have to have them") {
    // As though the first bucket's row had said one record, and its filter were full.
    from[0] = {};
    the_filter().count_ids(layout.buckets[0].lane, ManyRecords::kIdsABucket * 2);
    build(3);
    CHECK(parts.layout().generation_count == 1);
  }
  SUBCASE("those of one bucket alone are built once more, and the damaged record is in it") {
    from[1] = {};
    CHECK_THROWS_AS(build(3), Error);
    return;
  }
  store.check_found();
  CHECK(parts.views->newest()->reaches(parts.head()));
  CHECK(store.all.size() == before);
}

TEST_CASE("a few records in large files are added to them, and change no other lane's bits") {
  Parts parts({.expected_ids = 8'000'000, .ring_bytes = std::uint64_t{4} << 20});
  // The second bucket has enough to write its lane in order, between the others.
  const auto id_of = [](std::size_t bucket, std::uint64_t i) {
    return fmt::format("{} {:{}}", bucket, i, bucket == 1 ? 900 : 4);
  };
  constexpr std::array<std::uint64_t, 3> kRecords{100, 2'000, 100};
  for (std::size_t bucket = 0; bucket < 3; ++bucket) {
    parts.host.advance(10s);
    parts.open_bucket();
    for (std::uint64_t i = 0; i < kRecords[bucket]; ++i) parts.append(id_of(bucket, i));
    parts.flush();
  }
  parts.host.reboot();
  parts.open();
  const auto view = parts.views->newest();
  for (std::size_t bucket = 0; bucket < 3; ++bucket) {
    CHECK(view->buckets[bucket].records() == kRecords[bucket]);
    for (std::uint64_t i = 0; i < kRecords[bucket]; ++i) {
      const std::string id = id_of(bucket, i);
      REQUIRE(knows(parts, id));
      REQUIRE(view->candidates(parts.probe(id).hash) == 1U << bucket);
    }
  }
  CHECK_FALSE(knows(parts, "never"));
}
