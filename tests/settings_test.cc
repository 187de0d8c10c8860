#include "shared/settings.h"

#include <signal.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/backup.h>
#include <oncelog/repair.h>

#include "parts.h"
#include "shared.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

const Options kChosen{.max_bytes = 8 * kMiB, .expected_ids = 5'000, .ring_bytes = kMiB, .max_claims = 77};

/// Of the shared memory as it is, and the cap in force.
void expect_chosen(const Store& store) {
  const Metrics metrics = store.metrics();
  CHECK(metrics.ring_bytes == kMiB);
  CHECK(metrics.max_claims == 77);
  CHECK(metrics.max_bytes == 8 * kMiB);
}

/// Opens the store in a process of its own, calls `before_it`, and when that has returned checks `there` there.
template <typename BeforeIt, typename There>
void while_open_elsewhere(const std::filesystem::path& path, const Options& options, BeforeIt before_it, There there) {
  struct Signals {
    std::atomic<bool> open = false;
    std::atomic<bool> done = false;
  };
  const Shared<Signals> signals;
  const pid_t child = spawn([&]() -> int {
    const Store store = Store::open(path, options);
    signals->open = true;
    expect(holds_soon([&] { return signals->done.load(); }), "an end");
    there(store);
    return 0;
  });
  const bool opened = holds_soon([&] { return signals->open.load(); });
  if (opened) before_it();
  signals->done = true;
  CHECK(opened);
  CHECK(wait_for(child) == 0);
}

std::string id_of(std::uint64_t number) {
  return "a message with a long enough id " + std::to_string(number);
}

}  // namespace

TEST_CASE("what a store is set to comes back as it was stored, and what cannot be is the default") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  CHECK(Settings::stored(*tables.catalog, txn) == Settings{});
  const Settings chosen = Settings{}.with(kChosen);
  chosen.put(txn, *tables.catalog, {});
  CHECK(Settings::stored(*tables.catalog, txn) == chosen);
  CHECK(chosen.with({}) == chosen);
  Settings::stored(*tables.catalog, txn).with({.max_bytes = 0}).put(txn, *tables.catalog, chosen);
  CHECK(Settings::stored(*tables.catalog, txn).max_bytes == 0);
  CHECK(Settings::stored(*tables.catalog, txn).ring_bytes == kMiB);
  for (const auto& [which, value] : std::initializer_list<std::pair<Catalog::Number, std::uint64_t>>{
           {Catalog::Number::max_bytes, kMiB - 1},
           {Catalog::Number::expected_ids, Settings::kMaxExpectedIds + 1},
           {Catalog::Number::ring_bytes, kMiB + 8},
           {Catalog::Number::max_claims, std::uint64_t{1} << 32 | 77}}) {
    tables.catalog->put_number(txn, which, value);
  }
  CHECK(Settings::stored(*tables.catalog, txn) == Settings{});
}

TEST_CASE("the sizes that a store is rebuilt with are those it was given, whoever opens it first after a reboot") {
  const TempDir dir;
  FakeHost host;
  expect_chosen(StoreAccess::open(dir / "store", kChosen, host));
  host.reboot();
  SUBCASE("a process that only reads") {
    expect_chosen(StoreAccess::open(dir / "store", {.read_only = true}, host));
  }
  SUBCASE("a process that only reads and wants other ones") {
    expect_chosen(StoreAccess::open(
        dir / "store", {.read_only = true, .max_bytes = 2 * kMiB, .ring_bytes = 2 * kMiB, .max_claims = 5}, host));
  }
  SUBCASE("a writer without a word of them") {
    expect_chosen(StoreAccess::open(dir / "store", {}, host));
  }
  expect_chosen(StoreAccess::open(dir / "store", {}, host));
}

TEST_CASE("a writer's sizes are stored, also while others have the store open, and are those of the next rebuild") {
  const TempDir dir;
  FakeHost host;
  std::optional<Store> first = StoreAccess::open(dir / "store", {}, host);
  const Metrics before = first->metrics();
  CHECK(before.ring_bytes == kDefaultRingBytes);
  CHECK(before.max_claims == kDefaultMaxClaims);
  CHECK(before.max_bytes == 0);
  SUBCASE("by another process") {
    REQUIRE(wait_for(spawn([&]() -> int {
              StoreAccess::open(dir / "store", kChosen, host);
              return 0;
            })) == 0);
  }
  SUBCASE("by another handle of the process") {
    StoreAccess::open(dir / "store", kChosen, host);
  }
  CHECK(first->metrics().ring_bytes == kDefaultRingBytes);  // Not before the shared memory is rebuilt.
  CHECK(first->metrics().max_bytes == 8 * kMiB);
  first.reset();
  host.reboot();
  expect_chosen(StoreAccess::open(dir / "store", {.read_only = true}, host));
}

TEST_CASE("a later handle's sizes have the same bounds as the first one's") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kChosen);
  CHECK(error_code_of([&] { Store::open(dir / "store", {.max_bytes = 1}); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { Store::open(dir / "store", {.ring_bytes = 3}); }) == ErrorCode::invalid_argument);
  expect_chosen(store);
}

TEST_CASE("a process that was opened without a cap obeys the one of another, and the newest one at once") {
  const TempDir dir;
  std::uint64_t marked = 0;
  const auto mark_many = [&](const Store& store) {
    const Scope scope = store.scope("s");
    for (int i = 0; i < 60'000; ++i) scope.mark(id_of(marked++));
    store.expire();
  };
  const auto live_bytes = [](const Metrics& metrics) {
    return metrics.head.value - metrics.live_buckets.front().first_lsn.value;
  };
  while_open_elsewhere(
      dir / "store", {},
      [&] {
        Store::open(dir / "store", {.max_bytes = kMiB});
        Store::open(dir / "store");  // Says nothing, and changes nothing.
      },
      [&](const Store& store) {
        mark_many(store);
        const Metrics capped = store.metrics();
        expect(capped.max_bytes == kMiB, "the cap of another process");
        expect(capped.early_drops > 0, "something forgotten");
        expect(live_bytes(capped) <= kMiB, "no more than the cap");
        Store::open(dir / "store", {.max_bytes = 0});
        mark_many(store);
        const Metrics free = store.metrics();
        expect(free.early_drops == capped.early_drops, "nothing forgotten without a cap");
        expect(live_bytes(free) > 2 * kMiB, "all of it");
      });
  CHECK(Store::open(dir / "store", {.read_only = true}).metrics().max_bytes == 0);
}

TEST_CASE("a mark is refused when a process that lowers the cap meanwhile leaves no room that could ever hold it") {
  const TempDir dir;
  const std::string result(512 << 10, 'r');
  const std::size_t marks = 2 * kDefaultRingBytes / result.size();  // More than the ring takes before a flush.
  struct Signals {
    std::atomic<bool> done = false;
    std::atomic<bool> refused = false;
  };
  const Shared<Signals> signals;
  const pid_t child = spawn([&]() -> int {
    const Store store = Store::open(dir / "store");
    const Scope scope = store.scope("s");
    const Ids ids(marks, id_of);
    const std::vector<Attributes> attributes(marks, Attributes{.result = result});
    std::vector<Marked> marked(marks);
    std::thread marker;
    // Nobody flushes before the transaction's end.
    store.transact([&](Transaction&) {
      marker = std::thread([&] {
        signals->refused =
            error_code_of([&] { scope.mark(ids, attributes, marked, Ack::host); }) == ErrorCode::invalid_argument;
        signals->done = true;
      });
      expect(holds_soon([&] { return store.metrics().head.value > kDefaultRingBytes / 2; }), "marks");
      // As if another process had set it: one that could wait for the transaction's end.
      const std::uint64_t cap = kMiB;
      std::fstream live(dir / "store/live", std::ios::in | std::ios::out | std::ios::binary);
      live.seekp(offsetof(SharedHeader, max_bytes));
      live.write(reinterpret_cast<const char*>(&cap), sizeof cap);
      expect(live.flush().good(), "another cap");
    });
    marker.join();
    expect(marked.front() == Verdict::fresh && scope.contains(ids[0]), "the first ids");
    expect(!scope.contains(ids[marks - 1]), "no more ids");
    return 0;
  });
  const bool done = holds_soon([&] { return signals->done.load(); });
  CHECK(done);
  CHECK(signals->refused);
  if (!done) ::kill(child, SIGKILL);
  CHECK(wait_for(child) == (done ? 0 : -SIGKILL));
}

TEST_CASE("a store cannot be given other settings within its own transaction, which would wait for itself") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  store.transact([&](Transaction&) {
    CHECK(error_code_of([&] { Store::open(dir / "store", {.max_bytes = kMiB}); }) == ErrorCode::invalid_argument);
    CHECK_NOTHROW(Store::open(dir / "store", {.max_bytes = 0}));
  });
}

TEST_CASE("what a store is set to is in its backups, and is saved by a repair") {
  const TempDir dir;
  Store::open(dir / "store", kChosen).scope("s").mark("a");
  SUBCASE("a backup that is restored") {
    Store::open(dir / "store").backup(dir / "backup");
    restore(dir / "backup", dir / "other");
  }
  SUBCASE("a repair") {
    repair(dir / "store", dir / "other");
  }
  expect_chosen(Store::open(dir / "other", {.read_only = true}));
}
