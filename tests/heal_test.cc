#include <signal.h>

#include <array>
#include <memory>
#include <vector>

#include "background/upkeep.h"
#include "healed.h"
#include "shared.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("a table that is nearly full is followed by one that has all of its entries, and goes") {
  Healed store;
  store.append_all(0, 1040);
  store.flush();
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.bucket(0).first_part == 1);
  CHECK(store.layout().building_slots == 0);
  CHECK(store.layout().spare_table_slots == 0);
  CHECK(store.missing(0, 1040) == 0);
  CHECK(store.views->newest()->buckets[0].records() == 1040);
  CHECK(store.views->newest()->buckets[0].entries() == 1040);
  CHECK(files_in(store.live_dir, "index-") == std::vector<std::string>{"index-1-1"});
}

TEST_CASE("a bucket that outgrew its plan many times has one table in the end, however few rounds there were") {
  Healed store;
  for (int i = 0; i < 20'000; i += 2'000) {
    store.append_all(i, i + 2'000);
    if (i % 8'000 == 0) store.upkeep->tick();
    store.flush();
  }
  REQUIRE(store.missing(0, 20'000) == 0);
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 20'000) == 0);
  CHECK(store.views->newest()->buckets[0].records() == 20'000);
}

/// 800 of 1024 planned ids, of which the last 300 came in `time`.
void append_within(Healed& store, std::chrono::milliseconds time) {
  store.append_all(0, 500);
  store.flush();
  store.tick_all();
  store.host.advance(time);
  store.append_all(500, 800);
  store.flush();
}

TEST_CASE("where it is too late to fill a table before it is needed an empty one is put by, and the chain heals") {
  Healed store;
  append_within(store, 10ms);
  store.upkeep->tick();
  CHECK(store.layout().spare_table_slots > store.bucket(0).slots[0]);
  CHECK(store.layout().building_slots == 0);
  store.append_all(800, 1'500);
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 1'500) == 0);
}

TEST_CASE("where there is time the next table is filled before it is used") {
  Healed store;
  append_within(store, 500ms);
  store.tick_all();
  CHECK(store.layout().spare_table_slots == 0);
  store.host.advance(1s);
  store.append_all(800, 1'040);
  store.flush();
  store.tick_all();
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.bucket(0).first_part == 1);
  CHECK(store.missing(0, 1'040) == 0);
}

TEST_CASE("records that are accepted while a table is built are in it, or in one that stays") {
  Healed store;
  int next = 1'040;
  store.append_all(0, next);
  store.flush();
  bool more = true;
  for (int round = 0; more || round < 100; ++round) {
    more = store.upkeep->tick();
    store.append_all(next, next + 10);
    next += 10;
    if (round % 3 == 0) store.flush();
    REQUIRE(store.missing(0, next) == 0);
  }
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, next) == 0);
  CHECK(store.views->newest()->buckets[0].records() == static_cast<std::uint64_t>(next));
}

TEST_CASE("what a bucket has when it is closed heals too: it is left one table of the size that it needs") {
  Healed store;
  store.append_all(0, 9'000);
  store.flush();
  REQUIRE(store.bucket(0).tables > 2);
  store.next_bucket();
  store.append_all(9'000, 9'100);
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK_FALSE(Growth::oversized(store.bucket(0).slots[0], IndexTable::slots_for(9'000)));
  CHECK(store.missing(0, 9'000, 0) == 0);
  CHECK(store.missing(9'000, 9'100, 1) == 0);
}

TEST_CASE("a chain that waits for the flusher is continued after the flush, and not before") {
  Healed store;
  store.append_all(0, 1'500);
  REQUIRE(store.bucket(0).tables == 2);
  store.tick_all();
  CHECK(store.bucket(0).tables == 2);
  CHECK_FALSE(store.upkeep->due());
  store.flush();
  CHECK(store.upkeep->due());
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
}

TEST_CASE("a table that grew far beyond what came is replaced by a smaller one when the load has stopped") {
  Healed store;
  store.append_all(0, 1'030);
  store.host.advance(100ms);
  store.upkeep->tick();
  store.append_all(1'030, 1'060);
  store.flush();
  store.heal();
  REQUIRE(store.bucket(0).tables == 1);
  Layout layout = store.layout();
  // As if much more had been promised.
  store.views->make_index(1, layout.current().next_part(), 40'000);
  begin_table(layout, 1, 40'000);
  store.header().layout.publish(layout);
  store.heal();
  REQUIRE(store.bucket(0).slots[0] == 40'000);
  SUBCASE("not before") {
    store.host.advance(std::chrono::microseconds{Pace::kQuietUs} - 1us);
    store.heal();
    CHECK(store.bucket(0).slots[0] == 40'000);
  }
  SUBCASE("then") {
    store.host.advance(std::chrono::microseconds{Pace::kQuietUs});
    store.heal();
    CHECK(store.bucket(0).tables == 1);
    CHECK_FALSE(Growth::oversized(store.bucket(0).slots[0], IndexTable::slots_for(1'060)));
    CHECK(store.missing(0, 1'060) == 0);
  }
}

TEST_CASE("a filter that outgrew its plan becomes one generation with the ids of all buckets") {
  Healed store;
  store.append_all(0, 800);
  store.next_bucket();
  store.append_all(800, 1'600);
  store.next_bucket();
  store.append_all(1'600, 9'000);
  store.heal();
  REQUIRE(store.layout().generation_count == 1);
  CHECK(files_in(store.live_dir, "filter-").size() == 1);
  const auto view = store.views->newest();
  CHECK(FilterGeneration::capacity_of(view->generations[0]->lines()) >= 7'400);
  const auto lane_of = [](int id) { return id < 800 ? 0U : id < 1'600 ? 1U : 2U; };
  for (int i = 0; i < 9'000; ++i) {
    REQUIRE((view->candidates(store.probe(std::to_string(i)).hash) >> lane_of(i) & 1) == 1);
  }
  store.close();
  store.open();  // As it is: it reaches the head in every lane.
  CHECK(store.layout().next_generation == view->layout.next_generation);
}

/// A store in its second bucket, whose filter is too small for that.
struct Outgrown : Healed {
  Outgrown() {
    append_all(0, 1'000);
    next_bucket();
    append_all(1'000, 2'400);
    flush();
  }
};

/// Until some of the generation that is built has been copied.
void tick_until_copied(Healed& store) {
  while (!store.views->newest()->built_generation || store.views->newest()->built_generation->copied() == Lsn{}) {
    REQUIRE(store.upkeep->tick());
  }
}

TEST_CASE("a lane that is swept while a generation is built is clean in it") {
  Outgrown store;
  tick_until_copied(store);
  Layout layout = store.layout();
  drop_oldest(layout);
  store.header().layout.publish(layout);
  store.heal();
  REQUIRE(store.layout().generation_count == 1);
  CHECK(store.layout().sweeping == 0);
  const auto generation = store.views->newest()->generations[0];
  for (int i = 0; i < 1'000; ++i) REQUIRE((generation->candidates(store.probe(std::to_string(i)).hash) & 1) == 0);
  CHECK(generation->count(0) == 0);
  for (int i = 1'000; i < 2'400; ++i) REQUIRE((generation->candidates(store.probe(std::to_string(i)).hash) & 2) == 2);
}

TEST_CASE("a filter shrinks once the bucket that it was made for has expired") {
  Healed store;
  store.append_all(0, 20'000);
  store.heal();
  const std::uint64_t lines = store.layout().newest_generation().lines;
  for (int id = 20'000; id < 20'009; ++id) {
    store.next_bucket();
    store.append_all(id, id + 1);
    store.flush();
    store.upkeep->tick();
  }
  store.host.advance(std::chrono::microseconds{Pace::kQuietUs});
  store.heal();
  CHECK(store.layout().generation_count == 1);
  CHECK(store.layout().newest_generation().lines < lines / 4);
}

TEST_CASE("a table that was planned for a bucket is left alone, however few ids come") {
  Parts parts({.expected_ids = 80'000, .ring_bytes = std::uint64_t{1} << 20});
  Upkeep upkeep(parts.tables.env, *parts.tables.log, parts.identity.hash_seed, *parts.live, *parts.views, parts.rules,
                *parts.clock, 50ms);
  parts.append("a");
  parts.flush();
  upkeep.tick();
  parts.host.advance(5s);
  while (upkeep.tick()) {
  }
  CHECK(parts.layout().current().first_part == 0);
}

/// Heals the chain of the first bucket, whose healer dies once after it has copied something, and before it notes that.
void copy_twice(Healed& store) {
  REQUIRE(store.bucket(0).tables == 2);
  IndexTable& newest = store.views->newest()->buckets[0].newest_table();
  while (newest.copied() == Lsn{}) REQUIRE(store.upkeep->tick());
  const std::uint64_t entries = newest.count();
  newest.note_copied(Lsn{});
  store.tick_all();
  CHECK(store.bucket(0).tables == 1);
  CHECK(newest.count() == entries);
}

TEST_CASE("what a dead process has copied and not noted is copied once") {
  Healed store;
  store.append_all(0, 1'500);
  store.flush();
  copy_twice(store);
  CHECK(store.views->newest()->buckets[0].records() == 1'500);
}

TEST_CASE("what a dead process has added to a filter and not noted is counted once") {
  Outgrown store;
  tick_until_copied(store);
  store.views->newest()->built_generation->note_copied(Lsn{});
  store.heal();
  REQUIRE(store.layout().generation_count == 1);
  const auto generation = store.views->newest()->generations[0];
  CHECK(generation->count(0) <= 1'000);
  CHECK(generation->count(0) > 980);  // Some seem to be there before they are.
  CHECK(generation->count(1) <= 1'400);
  CHECK(generation->count(1) > 1'370);
}

TEST_CASE("chains that a dead process has added and not noted have one entry each") {
  Healed store;
  const Attributes chained{.correlation = "chain"};
  Lsn previous;
  for (int i = 0; i < 1'500; ++i) {
    if (!store.layout().empty() && store.views->newest()->buckets.back().newest_table().full()) {
      store.append_all(10'000 + i, 10'001 + i);
      continue;
    }
    previous = store.append(std::to_string(i), 0, &chained, previous);
  }
  store.flush();
  copy_twice(store);
}

TEST_CASE("while one process comes further with it another one does not read, and goes on when it does not") {
  Healed store;
  store.append_large(0, 7'000);
  Upkeep other(store.tables.env, *store.tables.log, store.identity.hash_seed, *store.live, *store.views, store.rules,
               *store.clock, 50ms);
  const auto copied = [&] {
    const auto view = store.views->newest();
    const auto table = view->built_table ? view->built_table : view->buckets[0].tables.back();
    return table->copied();
  };
  while (copied() == Lsn{}) REQUIRE(store.upkeep->tick());
  REQUIRE(other.due());
  other.tick();  // It sees how far that is.
  const Lsn before = copied();
  while (copied() == before) REQUIRE(store.upkeep->tick());
  other.tick();
  CHECK_FALSE(other.due());
  CHECK(store.upkeep->due());
  store.host.advance(1s);
  CHECK(other.due());
  int rounds = 0;
  while (other.tick()) REQUIRE(++rounds < Healed::kMostRounds);
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.layout().generation_count == 1);
  CHECK(store.missing(0, 7'000) == 0);
}

TEST_CASE("four processes that add the same stretch count its ids once, and come to rest") {
  Outgrown store;
  std::vector<std::unique_ptr<Upkeep>> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(std::make_unique<Upkeep>(store.tables.env, *store.tables.log, store.identity.hash_seed, *store.live,
                                           *store.views, store.rules, *store.clock, 50ms));
  }
  int added = 0;
  const auto tick_each = [&] {
    bool more = false;
    for (const auto& upkeep : all) {
      more |= upkeep->tick();
      const auto built = store.views->newest()->built_generation;
      if (!built || built->copied() == Lsn{} || added == 3) continue;
      built->note_copied(Lsn{});  // As if the next one had begun before this one was through.
      ++added;
    }
    return more;
  };
  for (int pause = 0; pause < 3; ++pause) {
    for (int round = 0; tick_each(); ++round) REQUIRE(round < Healed::kMostRounds);
    store.host.advance(1s);
  }
  CHECK(added == 3);
  CHECK(store.bucket(1).tables == 1);
  REQUIRE(store.layout().generation_count == 1);
  CHECK(store.layout().building_lines == 0);
  const auto generation = store.views->newest()->generations[0];
  CHECK(generation->count(0) <= 1'000);
  CHECK(generation->count(1) <= 1'400);
  CHECK(store.missing(1'000, 2'400, 1) == 0);
}

TEST_CASE("another process continues what one has begun to build") {
  Healed store;
  store.append_all(0, 1'040);
  store.flush();
  Layout layout = store.layout();
  store.views->make_index(1, 1, 3'000);
  begin_table(layout, 1, 3'000);  // It died before it copied anything.
  store.header().layout.publish(layout);
  SUBCASE("while the store is open") {}
  SUBCASE("after it was opened again") {
    store.open();
  }
  Upkeep other(store.tables.env, *store.tables.log, store.identity.hash_seed, *store.live, *store.views, store.rules,
               *store.clock, 50ms);
  while (other.tick()) {
  }
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.missing(0, 1'040) == 0);
}

TEST_CASE("once marks have stopped several threads read, and a table and a generation have everything all the same") {
  Healed store;
  store.append_large(0, 7'000);
  for (int look = 0; look < 2; ++look) {  // It sees that nothing comes.
    store.upkeep->tick();
    store.host.advance(1s);
  }
  store.heal();
  REQUIRE(store.bucket(0).tables == 1);
  REQUIRE(store.layout().generation_count == 1);
  CHECK(store.missing(0, 7'000) == 0);
  const auto view = store.views->newest();
  CHECK(view->buckets[0].records() == 7'000);
  CHECK(view->buckets[0].entries() == 7'000);
  for (int i = 0; i < 7'000; ++i) REQUIRE(view->candidates(store.probe(std::to_string(i)).hash) == 1);
}

TEST_CASE("once marks have stopped a table waits for the generation that is allocated, and both are filled together") {
  Healed store;
  store.append_large(0, 2'000);
  store.host.advance(1s);
  Layout layout = store.layout();
  constexpr std::uint64_t kLines = 200'000;  // Several pieces.
  if (layout.building_lines != 0) end_building_generation(layout);
  store.views->begin_filter(layout.next_generation, kLines);
  begin_generation(layout, kLines);
  store.header().layout.publish(layout);
  const auto copied = [&] {
    const auto view = store.views->newest();
    const auto table = view->built_table ? view->built_table : view->buckets[0].tables.back();
    return table->copied();
  };
  for (int look = 0; look < 2; ++look) {  // It sees that nothing comes.
    store.upkeep->tick();
    store.host.advance(1s);
  }
  const Lsn before = copied();
  while (store.views->newest()->built_generation && store.views->newest()->built_generation->allocated() != 0) {
    REQUIRE(store.upkeep->tick());
    REQUIRE(copied() == before);
  }
  store.heal();
  CHECK(store.bucket(0).tables == 1);
  CHECK(store.layout().generation_count == 1);
  CHECK(store.missing(0, 2'000) == 0);
}

TEST_CASE("a reader of an older layout goes on in the tables that were dropped") {
  Healed store;
  store.append_all(0, 1'500);
  store.flush();
  const auto view = store.views->newest();
  store.heal();
  store.tick_all();
  REQUIRE(files_in(store.live_dir, "index-").size() == 1);
  int found = 0;
  for (int i = 0; i < 1'500; ++i) {
    for (const auto& table : view->buckets[0].tables) {
      table->each(store.probe(std::to_string(i)).hash, MessageHash::Of::message, [&](std::uint64_t) { ++found; });
    }
  }
  CHECK(found >= 1'500);
}

TEST_CASE("a bucket with a damaged record keeps its tables, and that is reported once") {
  Healed store;
  store.append_all(0, 1'500);
  store.flush();
  {
    lmdb::WriteTxn txn(store.tables.env);
    lmdb::ReadTxn log(store.tables.env, store.tables.log->dbi());
    const lmdb::ReadTxn::Active active(log);
    const auto block = Log::block_at(log, Lsn{8});
    std::vector<std::byte> bytes(block->bytes.begin(), block->bytes.end());
    bytes[bytes.size() / 2] ^= std::byte{1};
    txn.put(store.tables.log->dbi(), lmdb::to_val(block->lsn.value), bytes);
    txn.commit();
  }
  CHECK(error_code_of([&] { store.tick_all(); }) == ErrorCode::corrupt);
  CHECK_NOTHROW(store.tick_all());
  CHECK_FALSE(store.upkeep->due());
  CHECK(store.bucket(0).tables == 2);
  CHECK(store.missing(0, 1'500) == 0);
  store.append_all(1'500, 6'000);  // It still grows.
  CHECK(store.missing(0, 6'000) == 0);
}

TEST_CASE("an open store heals by itself, and finds every id and every chain meanwhile") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.retention = 1h, .expected_ids = 1, .flush_interval = 2ms});
  const Scope scope = store.scope("s");
  const std::size_t count = scaled(20'000, 5'000);
  for (std::size_t i = 0; i < count; ++i) {
    REQUIRE(scope.mark(std::to_string(i), {.correlation = std::to_string(i % 7)}) == Verdict::fresh);
    if (i % 16 == 0) REQUIRE(scope.contains(std::to_string(i / 2)));
  }
  wait_until([&] { return store.metrics().live_buckets.at(0).index_tables == 1; });
  CHECK(store.metrics().ids == count);
  for (std::size_t i = 0; i < count; ++i) REQUIRE(scope.mark(std::to_string(i)) == Verdict::duplicate);
  for (std::size_t chain = 0; chain < 7; ++chain)
    CHECK(store.correlated(std::to_string(chain)).size() == (count - chain + 6) / 7);
  CHECK(store.verify({.deep = true}).problems.empty());
}

TEST_CASE("processes that mark while the store grows find each other's ids, and it heals whoever is left") {
  constexpr unsigned kProcesses = 3;
  const std::size_t count = scaled(8'000, 2'000);
  const TempDir dir;
  const Options options{.retention = 1h, .expected_ids = 1, .flush_interval = 2ms};
  const Shared<std::array<std::atomic<std::size_t>, kProcesses>> marked;
  const auto id_of = [](unsigned process, std::size_t i) { return std::to_string(process) + "/" + std::to_string(i); };
  std::vector<pid_t> children;
  { const Store store = Store::open(dir / "store", options); }
  for (unsigned p = 0; p < kProcesses; ++p) {
    children.push_back(spawn([&, p] {
      const Store store = Store::open(dir / "store", options);
      const Scope scope = store.scope("s");
      for (std::size_t i = 0; i < count; ++i) {
        expect(scope.mark(id_of(p, i)) == Verdict::fresh, "an id of its own is fresh");
        (*marked)[p].store(i + 1, std::memory_order_release);
        const unsigned other = (p + 1) % kProcesses;
        const std::size_t theirs = (*marked)[other].load(std::memory_order_acquire);
        if (theirs != 0) expect(scope.contains(id_of(other, i % theirs)), "what another has marked is known");
      }
      return 0;
    }));
  }
  // One of them is killed at any time; its ids up to then are known, and the others go on.
  while ((*marked)[0].load(std::memory_order_acquire) < count / 2) std::this_thread::yield();
  ::kill(children[0], SIGKILL);
  const int first = wait_for(children[0]);
  CHECK((first == 0 || first == -SIGKILL));
  for (unsigned p = 1; p < kProcesses; ++p) CHECK(wait_for(children[p]) == 0);
  const Store store = Store::open(dir / "store", options);
  const Scope scope = store.scope("s");
  wait_until([&] { return store.metrics().live_buckets.at(0).index_tables == 1; });
  for (unsigned p = 0; p < kProcesses; ++p) {
    const std::size_t theirs = (*marked)[p].load(std::memory_order_acquire);
    for (std::size_t i = 0; i < theirs; ++i) REQUIRE(scope.contains(id_of(p, i)));
  }
  CHECK(store.verify({.deep = true}).problems.empty());
}
