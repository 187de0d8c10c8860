// What keeps healing from going on: records of any size and shape, damage, no room, deaths. It comes to rest all the
// same, and no id is missed.

#include <cstring>

#include "file_limit.h"
#include "healed.h"
#include "shared/hints.h"
#include "shared/layout_update.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kCountAt = 128;  // In an index file.
constexpr auto kRetry = 10s;           // After what failed.
constexpr auto kQuiet = std::chrono::microseconds{Pace::kQuietUs};

void append_chain(Healed& store, int begin, int end) {
  const Attributes attributes{.correlation = "all of them"};
  Lsn previous;
  for (int i = begin; i < end; ++i) previous = store.append(std::to_string(i), 0, &attributes, previous);
}

MessageHash chain_hash(Healed& store) {
  return {MessageHash::scope_seed(store.identity.hash_seed, MessageHash::kCorrelationScope), "chain"};
}

/// What becomes of a record: it is accepted, its transaction is undone, or its producer dies before the head.
enum class Fate { accepted, undone, lost };

/// A record of the chain after `links`, whose hints are added as a producer adds them.
Lsn append_link(Healed& store, std::string_view id, const std::vector<Lsn>& links, Fate fate = Fate::accepted) {
  const auto view = store.views->newest();
  const View::Bucket& bucket = view->buckets.back();
  const Attributes attributes{.correlation = "chain"};
  const MessageHash hash = store.probe(id).hash;
  const Lsn lsn = store.head();
  RecordDraft draft = RecordDraft::of(Parts::kScope, id, hash.digest(), &attributes, fate == Fate::undone ? kVoid : 0U);
  draft.attributes.previous = links.empty() ? 0 : links.back().value;
  std::vector<std::uint64_t> buffer(draft.bytes() / kRecordUnit);
  const auto record = encode_record(buffer, draft, lsn, store.header().marks.last_time_us);
  store.live->ring().write(lsn, record);
  const ChainHint chain{chain_hash(store), links.size() < 2 ? Lsn{} : links[links.size() - 2]};
  REQUIRE(add_hints(bucket, *view->generations.back(), hash, lsn, &chain));
  if (fate == Fate::lost) return lsn;
  const Lsn end{lsn.value + record.size_bytes()};
  store.header().marks.head = end.value;
  bucket.newest_table().reach(end);
  view->generations.back()->reach(bucket.info.lane, end);
  return lsn;
}

bool leads_to(Healed& store, Lsn link) {
  bool any = false;
  const auto view = store.views->newest();
  for (const auto& table : view->buckets[0].tables) {
    table->each(chain_hash(store), MessageHash::Of::correlation, [&](std::uint64_t offset) {
      any |= view->buckets[0].info.first_lsn.value + offset * kRecordUnit == link.value;
    });
  }
  return any;
}

/// Puts a table behind those of the current bucket.
void add_table(Healed& store, std::uint64_t slots) {
  Layout layout = store.layout();
  store.views->make_index(layout.current().number, layout.current().next_part(), slots);
  layout.spare_table_slots = slots;
  grow_index(layout, store.head());
  store.header().layout.publish(layout);
}

/// Puts an empty table of another size in the place of the current bucket's.
void put_table(Healed& store, std::uint64_t slots) {
  Layout layout = store.layout();
  store.views->make_index(layout.current().number, layout.current().next_part(), slots);
  put_in_place(layout.current(), slots);
  store.header().layout.publish(layout);
}

/// Begins to build a table as a process does that then dies.
void begin_built_table(Healed& store, std::uint64_t bucket, std::uint64_t slots) {
  Layout layout = store.layout();
  unsigned position = 0;
  while (layout.buckets[position].number != bucket) ++position;
  store.views->begin_index(bucket, layout.buckets[position].next_part(), slots);
  begin_table(layout, bucket, slots);
  store.header().layout.publish(layout);
}

void add_generation(Healed& store, std::uint64_t lines) {
  Layout layout = store.layout();
  store.views->make_filter(layout.next_generation, lines);
  layout.spare_generation_lines = lines;
  grow_filter(layout, store.head());
  store.header().layout.publish(layout);
}

void begin_built_generation(Healed& store, std::uint64_t lines) {
  Layout layout = store.layout();
  store.views->begin_filter(layout.next_generation, lines);
  begin_generation(layout, lines);
  store.header().layout.publish(layout);
}

/// Damages the block of the log that holds `lsn`, at an offset from its beginning.
void damage_log(Healed& store, Lsn lsn, std::size_t offset) {
  lmdb::WriteTxn txn(store.tables.env);
  lmdb::ReadTxn log(store.tables.env, store.tables.log->dbi());
  const lmdb::ReadTxn::Active active(log);
  const auto block = Log::block_at(log, lsn);
  std::vector<std::byte> bytes(block->bytes.begin(), block->bytes.end());
  bytes[offset] ^= std::byte{1};
  txn.put(store.tables.log->dbi(), lmdb::to_val(block->lsn.value), bytes);
  txn.commit();
}

void set_word(const std::filesystem::path& path, std::size_t at, std::uint64_t value) {
  const auto file = MappedFile::open(path, at + sizeof value);
  std::memcpy(file->data() + at, &value, sizeof value);
}

}  // namespace

TEST_CASE("a filter of records that have a correlation gets its size and keeps it") {
  Healed store;
  append_chain(store, 0, 1'000);
  store.flush();
  store.heal();
  for (int quiet = 0; quiet < 3; ++quiet) {
    store.host.advance(kQuiet);
    store.heal();
  }
  CHECK(store.layout().generation_count == 1);
  CHECK(store.layout().building_lines == 0);
  CHECK_FALSE(store.upkeep->due());
}

TEST_CASE("a built table that turns out to be too small is given up, and one that is large enough follows") {
  Healed store;
  store.append_all(0, 1'500);
  store.flush();
  REQUIRE(store.bucket(0).tables == 2);
  begin_built_table(store, 1, IndexTable::slots_for(1'100));
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.layout().building_slots == 0);
  CHECK(store.missing(0, 1'500) == 0);
}

TEST_CASE("a table in use without room for the others' entries is replaced, although counts say that it has room") {
  Healed store;
  store.append_all(0, 1'000);
  add_table(store, IndexTable::slots_for(1'200));
  store.append_all(1'000, 1'500);
  store.flush();
  set_word(store.live_dir / index_name(1, 0), kCountAt, 0);
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 1'500) == 0);
}

TEST_CASE("a chain whose newest table is nearly full heals, although a spare table waits for marks that do not come") {
  Healed store;
  store.append_all(0, 1'000);
  add_table(store, IndexTable::slots_for(1'200));
  store.append_all(1'000, 2'250);
  store.flush();
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 2'250) == 0);
}

TEST_CASE("so many bytes are read at a time while marks come, however large the records are") {
  Healed store;
  add_table((store.append_all(0, 10), store), IndexTable::slots_for(10'000));
  const std::string result(50'000, 'r');
  const Attributes attributes{.result = result};
  for (int i = 10; i < 100; ++i) {
    store.append(std::to_string(i), 0, &attributes);
    if (i % 10 == 0) store.flush();
  }
  add_table(store, IndexTable::slots_for(10'000));
  store.append_all(100, 101);
  store.flush();
  constexpr std::uint64_t kMost = std::uint64_t{3} << 20;
  const auto& newest = store.views->newest()->buckets[0].tables.back();
  for (bool more = true; more;) {
    const std::uint64_t before = std::max(newest->copied().value, store.bucket(0).first_lsn.value);
    more = store.upkeep->tick();
    REQUIRE(newest->copied().value <= before + kMost);
  }
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 101) == 0);
}

TEST_CASE("a table that has no room on the disk is tried again after a while, and at once when it is demanded") {
  Healed store;
  store.append_all(0, 1'030);
  store.append("of the log");
  store.flush();
  {
    const FileLimit full(0);
    CHECK(error_code_of([&] { store.upkeep->tick(); }) == ErrorCode::full);
    CHECK_FALSE(store.upkeep->due());
    CHECK_NOTHROW(store.upkeep->tick());
    CHECK(error_code_of([&] { store.upkeep->serve(Upkeep::Demand::table); }) == ErrorCode::full);
  }
  store.upkeep->serve(Upkeep::Demand::table);
  CHECK(store.layout().spare_table_slots != 0);
}

TEST_CASE("a generation that has no room on the disk is tried again after a while") {
  Healed store;
  append_chain(store, 0, 900);
  store.flush();
  {
    const FileLimit full(0);
    CHECK(error_code_of([&] { store.upkeep->tick(); }) == ErrorCode::full);
    CHECK_NOTHROW(store.upkeep->tick());
    CHECK_FALSE(store.upkeep->due());
  }
  REQUIRE(store.layout().building_lines == 0);
  store.host.advance(kRetry);
  store.heal();
  CHECK(store.layout().generation_count == 1);
  CHECK(store.layout().newest_generation().number > 1);
}

TEST_CASE("nothing is begun that the disk has no room for in the end, so that the log meets no full disk meanwhile") {
  Healed store;
  store.append("a");
  const std::uint64_t bytes = FilterGeneration::file_bytes(FilterGeneration::kMaxLines);
  if (std::filesystem::space(store.live_dir).available >= bytes) return;  // A machine with a very large disk.
  CHECK(error_code_of([&] { store.views->begin_filter(7, FilterGeneration::kMaxLines); }) == ErrorCode::full);
  CHECK(files_in(store.live_dir, "filter-").size() == 1);
}

TEST_CASE("a damaged record of the bucket before keeps no bucket from healing") {
  Healed store;
  store.append_all(0, 10);
  store.next_bucket();
  store.append_all(10, 1'200);
  store.flush();
  REQUIRE(store.bucket(1).tables == 2);
  damage_log(store, Lsn{8}, 40);
  store.tick_all();
  CHECK(store.bucket(1).tables == 1);
  CHECK(store.missing(10, 1'200, 1) == 0);
}

TEST_CASE("a step that fails is tried again after a while, not in each round") {
  Healed store;
  store.append_all(0, 1'200);
  store.flush();
  REQUIRE(store.bucket(0).tables == 2);
  {
    std::vector<std::unique_ptr<lmdb::ReadTxn>> readers;  // All there are.
    CHECK(error_code_of([&] {
            for (;;) readers.push_back(std::make_unique<lmdb::ReadTxn>(store.tables.env, store.tables.log->dbi()));
          }) == ErrorCode::too_many_readers);
    CHECK(error_code_of([&] { store.tick_all(); }) == ErrorCode::too_many_readers);
    CHECK_FALSE(store.upkeep->due());
    CHECK_NOTHROW(store.upkeep->tick());
  }
  store.host.advance(kRetry);
  store.heal();
  CHECK(store.bucket(0).tables == 1);
}

TEST_CASE("the current bucket gets its next table in time, although one is built for another bucket") {
  Healed store;
  store.append_all(0, 2'000);
  store.flush();
  store.next_bucket();
  const auto planned = static_cast<int>(IndexTable::planned_of(store.bucket(1).slots[0]));
  store.append_all(2'000, 2'000 + planned + 1);
  begin_built_table(store, 1, IndexTable::slots_for(2'000));
  store.upkeep->tick();
  CHECK(store.layout().spare_table_slots != 0);
  store.flush();
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
}

TEST_CASE("a filter heals once the bucket with a damaged record is gone") {
  Healed store;
  store.append_all(0, 800);
  store.next_bucket();
  store.append_all(800, 2'000);
  Layout layout = store.layout();
  store.views->make_filter(layout.next_generation, FilterGeneration::lines_for(4'000));
  layout.spare_generation_lines = FilterGeneration::lines_for(4'000);
  grow_filter(layout, store.head());
  store.header().layout.publish(layout);
  store.append_all(2'000, 2'100);
  store.flush();
  damage_log(store, Lsn{8}, 40);
  CHECK(error_code_of([&] { store.heal(); }) == ErrorCode::corrupt);
  store.host.advance(1s);
  store.heal();
  CHECK(store.layout().generation_count == 2);
  layout = store.layout();
  drop_oldest(layout);
  store.header().layout.publish(layout);
  REQUIRE(layout.generation_count == 2);
  store.host.advance(kRetry);
  store.heal();
  CHECK(store.layout().generation_count == 1);
}

TEST_CASE("a generation that another process has begun and cannot finish is given up where a record is damaged") {
  Healed store;
  store.append_all(0, 1'200);
  store.flush();
  damage_log(store, Lsn{8}, 40);
  CHECK(error_code_of([&] { store.tick_all(); }) == ErrorCode::corrupt);
  begin_built_generation(store, 4'000);  // By another one, which died.
  store.host.advance(kRetry);
  store.tick_all();
  CHECK(store.layout().building_lines != 0);  // It may be alive.
  store.host.advance(kRetry);
  store.tick_all();
  CHECK(store.layout().building_lines == 0);
  CHECK(store.layout().building_slots == 0);
}

TEST_CASE("the loss of a file that is built costs no reader anything, and it is built again") {
  Healed store;
  store.append_all(0, 1'040);
  store.flush();
  begin_built_table(store, 1, 3'000);
  std::filesystem::remove(store.live_dir / index_name(1, 1));
  begin_built_generation(store, 4'000);
  std::filesystem::remove(store.live_dir / filter_name(2));
  SUBCASE("while the store is open") {}
  SUBCASE("before it was opened again") {
    store.open();
    REQUIRE(store.damage.empty());
  }
  ViewCache views(*store.live, store.live_dir, store.tables.dir.path());
  CHECK(views.newest()->buckets.size() == 1);
  Upkeep other(store.tables.env, *store.tables.log, store.identity.hash_seed, *store.live, views, store.rules,
               *store.clock, 50ms);
  CHECK(error_code_of([&] { other.tick(); }) == ErrorCode::io);  // Reported once.
  CHECK(store.layout().building_slots == 0);
  CHECK(store.layout().building_lines == 0);
  store.host.advance(kRetry);
  for (int round = 0; other.tick(); ++round) REQUIRE(round < Healed::kMostRounds);
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 1'040) == 0);
}

TEST_CASE("damaged counts make no table of a size beyond all bounds") {
  Healed store;
  store.append_all(0, 1'200);
  store.flush();
  set_word(store.live_dir / index_name(1, 0), kCountAt, ~std::uint64_t{0} / 3);
  CHECK(store.views->newest()->buckets[0].entries() <= 10'000);
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.bucket(0).slots[0] <= 20'000);
  CHECK(store.missing(0, 1'200) == 0);
}

TEST_CASE("how far a table is said to be copied is not believed where it cannot be") {
  std::uint64_t copied = 0;
  SUBCASE("beyond the log") {
    copied = std::uint64_t{1} << 40;
  }
  SUBCASE("between records") {
    copied = 20'001;
  }
  Healed store;
  store.append_all(0, 1'200);
  store.flush();
  REQUIRE(store.bucket(0).tables == 2);
  store.views->newest()->buckets[0].newest_table().note_copied(Lsn{copied});
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 1'200) == 0);
}

TEST_CASE("how far a generation is said to be copied is not believed beyond the log") {
  Healed store;
  store.append_all(0, 100);
  Layout layout = store.layout();
  store.views->make_filter(layout.next_generation, 4'000);
  layout.spare_generation_lines = 4'000;
  grow_filter(layout, store.head());
  store.header().layout.publish(layout);
  store.append_all(100, 110);
  store.flush();
  store.views->newest()->generations.back()->note_copied(Lsn{std::uint64_t{1} << 40});
  store.tick_all();
  REQUIRE(store.layout().generation_count == 1);
  const auto view = store.views->newest();
  for (int i = 0; i < 110; ++i) REQUIRE(view->candidates(store.probe(std::to_string(i)).hash) == 1);
}

TEST_CASE("what is copied is noted after each stretch, so that little is copied again after an interruption") {
  Healed store;
  store.append_large(0, 1'500);
  begin_built_table(store, 1, IndexTable::slots_for(1'100));
  const auto built = store.views->newest()->built_table;  // Without room for the last stretch.
  while (store.layout().building_slots == IndexTable::slots_for(1'100)) store.upkeep->tick();
  CHECK(built->copied() > store.bucket(0).first_lsn);
  CHECK(built->copied() < store.flushed());
}

TEST_CASE(
    "a built generation is used before it is complete where the present one is far too small, and has all later") {
  Healed store;
  store.append_all(0, 3'000);
  store.flush();
  if (store.layout().building_lines == 0) begin_built_generation(store, FilterGeneration::lines_for(4'000));
  while (store.layout().generation_count == 1) REQUIRE(store.upkeep->tick());
  CHECK(store.views->newest()->generations.back()->copied() < store.flushed());
  store.heal();
  REQUIRE(store.layout().generation_count == 1);
  const auto view = store.views->newest();
  for (int i = 0; i < 3'000; ++i) REQUIRE(view->candidates(store.probe(std::to_string(i)).hash) == 1);
}

TEST_CASE("a damaged layout is changed by nobody") {
  Healed store;
  Layout layout = store.layout();
  layout.bucket_count = 1'000;
  store.header().layout.publish(layout);
  const auto change = [](Layout&) { return true; };
  CHECK(error_code_of([&] { update_layout(*store.live, change); }) == ErrorCode::corrupt);
}

TEST_CASE("where healing does not keep up, each table and generation is twice as large as the one before at least") {
  Healed store;
  store.append_all(0, 1'200);
  REQUIRE(store.bucket(0).tables == 2);
  store.upkeep->due();
  store.host.advance(1s);
  store.upkeep->due();  // It has seen no pace.
  store.upkeep->serve(Upkeep::Demand::table);
  CHECK(store.layout().spare_table_slots >= 2 * store.bucket(0).slots[1]);
}

TEST_CASE("a chain whose newest record was undone is found after healing and the death of a producer") {
  Healed store;
  store.append_all(0, 1);
  std::vector<Lsn> links;
  for (const std::string id : {"a", "b", "c"}) links.push_back(append_link(store, id, links));
  links.push_back(append_link(store, "undone", links, Fate::undone));
  add_table(store, IndexTable::slots_for(3'000));
  store.append_all(1, 20);
  store.flush();
  while (store.views->newest()->buckets[0].newest_table().copied() < store.bucket(0).table_lsn[1]) {
    REQUIRE(store.upkeep->tick());
  }
  REQUIRE(store.bucket(0).tables == 2);
  append_link(store, "never accepted", links, Fate::lost);
  store.tick_all();
  REQUIRE(store.bucket(0).tables == 1);
  CHECK((leads_to(store, links[3]) || leads_to(store, links[2])));
}

TEST_CASE("a filter of as many generations as there may be heals when the load has stopped") {
  Healed store;
  int next = 100;
  store.append_all(0, next);
  for (std::uint64_t lines = 600; store.layout().generation_count < kMaxGenerations; lines = lines * 5 / 4) {
    add_generation(store, lines);
    store.append_all(next, next + 100);
    next += 100;
  }
  store.append_all(next, 20'000);
  store.flush();
  for (int quiet = 0; quiet < 3; ++quiet) {
    store.heal();
    store.host.advance(kQuiet);
    store.upkeep->due();
  }
  store.heal();
  CHECK(store.layout().generation_count == 1);
  CHECK(Growth::newest_fits_all(*store.views->newest()));
}

TEST_CASE("a generation that replaces several grows as one that follows them would") {
  Healed store;
  store.append_all(0, 1'150);
  for (int i = 0; i < 3; ++i) add_generation(store, 400);
  store.append_all(1'150, 1'200);
  store.flush();
  REQUIRE_FALSE(Growth::newest_fits_all(*store.views->newest()));
  store.upkeep->tick();
  CHECK(std::max(store.layout().building_lines, store.layout().newest_generation().lines) >= 800);
}

TEST_CASE("the filter of an idle store heals although a spare generation waits for marks") {
  Healed store;
  store.append_all(0, 800);
  add_generation(store, 600);
  store.append_all(800, 2'600);
  store.flush();
  Layout layout = store.layout();
  store.views->make_filter(layout.next_generation, 601);
  layout.spare_generation_lines = 601;
  store.header().layout.publish(layout);
  store.tick_all();
  CHECK(store.layout().generation_count == 1);
  CHECK(store.layout().spare_generation_lines == 0);
}

TEST_CASE("where there is no room for a generation, a table heals all the same") {
  Healed store;
  append_chain(store, 0, 514);
  store.append_all(514, 1'030);
  store.flush();
  const FileLimit limit(30'000);  // The table has some 24,000 bytes, the generation more than twice as much.
  for (int i = 0; i < 20; ++i) {
    try {
      store.tick_all();
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::full);
    }
    store.host.advance(1s);
  }
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.bucket(0).first_part != 0);
  CHECK(store.missing(0, 1'030) == 0);
}

TEST_CASE("a chain heals although a chore of the upkeep fails in each round") {
  Healed store;
  store.append_all(0, 1'200);
  store.flush();
  REQUIRE(store.bucket(0).tables == 2);
  store.host.advance(9'900ms);  // The next bucket is due, which has no holdback.
  const FileLimit full(0);
  for (int round = 0; store.bucket(0).tables != 1; ++round) {
    REQUIRE(round < Healed::kMostRounds);
    CHECK(error_code_of([&] { store.upkeep->tick(); }) == ErrorCode::full);
  }
  CHECK(store.missing(0, 1'200) == 0);
}

TEST_CASE("what is built is counted before more is begun: there is room for both, or the second one is refused") {
  Healed store;
  store.append("a");
  const std::uint64_t part = std::filesystem::space(store.live_dir).available / 10 * 7;
  begin_built_table(store, 1, part / 8);
  CHECK(error_code_of([&] { store.views->begin_filter(7, part / 64); }) == ErrorCode::full);
}

TEST_CASE("a damaged bucket that wants a table keeps no other bucket from its own") {
  Healed store;
  store.append_all(0, 9'000);
  store.flush();
  REQUIRE(store.bucket(0).tables > 2);
  store.next_bucket();
  store.append_all(9'000, 10'000);
  add_table(store, IndexTable::slots_for(1'200));
  store.append_all(10'000, 11'200);
  store.flush();
  damage_log(store, Lsn{8}, 40);
  int errors = 0;
  for (int i = 0; i < 3; ++i) {
    try {
      store.tick_all();
    } catch (const Error&) {
      ++errors;
    }
    store.host.advance(kRetry);
  }
  CHECK(errors > 0);
  CHECK(store.bucket(1).tables == 1);
  CHECK(store.missing(9'000, 11'200, 1) == 0);
}

TEST_CASE("a table that is too small because a count is damaged is not built again and again") {
  Healed store;
  store.append_all(0, 400);
  set_word(store.live_dir / index_name(1, 0), kCountAt, 0);
  store.append_all(400, 1'429);
  store.flush();
  for (int i = 0; i < 2; ++i) {
    store.upkeep->due();
    store.host.advance(1s);
  }
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 1'429) == 0);
}

TEST_CASE("a table that producers wait for is made soon, however large the one before it is, and the chain heals") {
  constexpr std::uint64_t kLarge = std::uint64_t{8} << 20;
  Healed store;
  store.append("gone with its table");
  put_table(store, kLarge);
  store.append_all(0, 100);
  store.upkeep->serve(Upkeep::Demand::table);
  REQUIRE(store.layout().spare_table_slots != 0);
  CHECK(store.layout().spare_table_slots <= kLarge / 4);
  Layout layout = store.layout();
  grow_index(layout, store.head());
  store.header().layout.publish(layout);
  store.append_all(100, 200);
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 200) == 0);
}

TEST_CASE("a large table is followed by one twice as large at most, a small one by one of what its pace promises") {
  Healed store;
  store.append("a");
  Pace pace;
  pace.note(1, 0, 0);
  pace.note(1, 100'000'000, 1'000'000);
  const auto growth = [&] {
    const std::uint64_t planned = IndexTable::planned_of(store.bucket(0).slots[0]);
    const std::uint64_t next =
        IndexTable::planned_of(Growth::next_slots(*store.views->newest(), pace, store.host.wall_us()));
    return static_cast<double>(next) / static_cast<double>(planned);
  };
  CHECK(growth() > 3.9);
  put_table(store, std::uint64_t{8} << 20);
  CHECK(growth() > 1.9);
  CHECK(growth() < 2.1);
}
