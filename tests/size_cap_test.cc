#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "shared.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

std::string id_of(std::uint64_t number) {
  return "a message with a long enough id " + std::to_string(number);
}

std::uint64_t live_bytes(const Store& store) {
  const Metrics metrics = store.metrics();
  return metrics.head.value - metrics.live_buckets.front().first_lsn.value;
}

/// It never shrinks: so this is the most that it ever had.
std::uint64_t data_bytes(const TempDir& dir) {
  return std::filesystem::file_size(dir / "store/data.mdb");
}

Options capped(std::uint64_t bytes) {
  Options options{.retention = 24h, .buckets = 4};
  options.expected_ids = 1'000;
  options.max_bytes = bytes;
  return options;
}

}  // namespace

TEST_CASE("a capped store forgets its oldest bucket before its time, and says from when on it remembers") {
  constexpr std::uint64_t kCap = std::uint64_t{1} << 20;
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", capped(kCap), host);
  const Scope scope = store.scope("orders");
  const Time edge = store.known_since();
  std::uint64_t marked = 0;
  for (; marked < 100'000; ++marked) {
    REQUIRE(scope.mark(id_of(marked)) == Verdict::fresh);
    host.advance(1ms);
    // Who has to open a bucket drops the oldest one first, or the flusher does soon.
    if (marked % 1'000 == 0) store.expire();
  }
  store.expire();
  CHECK(live_bytes(store) <= kCap);
  CHECK(data_bytes(dir) <= kCap);
  CHECK(store.known_since() > edge);
  // Everything processed since then is remembered, and what was not remembered was processed before.
  std::uint64_t forgotten = 0;
  while (!scope.contains(id_of(forgotten))) ++forgotten;
  CHECK(forgotten > 0);
  for (std::uint64_t id = forgotten; id < marked; ++id) REQUIRE(scope.contains(id_of(id)));
  const auto first = scope.find(id_of(forgotten));
  CHECK(first->processed_at >= store.known_since());
  CHECK(store.known_since() > first->processed_at - 1s);
  CHECK(live_bytes(store) > kCap / 4);
}

TEST_CASE("a message older than what a capped store remembers is too old, and never fresh") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", capped(std::uint64_t{1} << 20), host);
  const Scope scope = store.scope("orders");
  const Time first_sent = Time{std::chrono::microseconds{host.wall_us()}};
  REQUIRE(scope.mark("the first", {.sent_at = first_sent}) == Verdict::fresh);
  CHECK(scope.mark("the first", {.sent_at = first_sent}) == Verdict::duplicate);
  for (std::uint64_t id = 0; scope.contains("the first"); ++id) {
    host.advance(1ms);
    scope.mark(id_of(id));
    if (id % 1'000 == 0) store.expire();
  }
  CHECK(scope.mark("the first", {.sent_at = first_sent}) == Verdict::too_old);
  CHECK(scope.begin("the first", 10s, {.sent_at = first_sent}) == Verdict::too_old);
  CHECK_FALSE(scope.contains("the first"));
  CHECK(scope.mark("another", {.sent_at = Time{std::chrono::microseconds{host.wall_us()}}}) == Verdict::fresh);
}

TEST_CASE("what a cap made a store forget is known after a reboot as well") {
  const TempDir dir;
  FakeHost host;
  Time known_since;
  {
    const Store store = StoreAccess::open(dir / "store", capped(std::uint64_t{1} << 20), host);
    const Scope scope = store.scope("orders");
    for (std::uint64_t id = 0; id < 50'000; ++id) {
      scope.mark(id_of(id));
      host.advance(1ms);
    }
    store.expire();
    known_since = store.known_since();
    REQUIRE(known_since > Time{std::chrono::microseconds{FakeHost::kStartUs}});
  }
  SUBCASE("with its derived files gone") {
    remove_derived(dir / "store");
  }
  SUBCASE("in another boot") {
    host.reboot();
  }
  const Store store = StoreAccess::open(dir / "store", capped(std::uint64_t{1} << 20), host);
  CHECK(store.known_since() == known_since);
}

TEST_CASE("without a cap a store remembers from the retention's edge on") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 10s}, host);
  const Scope scope = store.scope("orders");
  const Time processed{std::chrono::microseconds{host.wall_us()}};
  scope.mark("a");
  host.advance(10s - 1us);
  CHECK(store.known_since() == processed);
  CHECK(scope.contains("a"));
  host.advance(1us);
  CHECK_FALSE(scope.contains("a"));
  CHECK(store.known_since() == processed + 1us);
  CHECK(scope.mark("a", {.sent_at = processed}) == Verdict::too_old);
}

TEST_CASE("what a cap made a store forget before it was ever flushed is known after a power failure") {
  const TempDir dir;
  const Shared<FakeHost> host;
  Options options = capped(std::uint64_t{1} << 20);
  options.flush_interval = 1h;
  const Time sent{std::chrono::microseconds{host->wall_us()}};
  REQUIRE(wait_for(spawn([&]() -> int {
            const Store store = StoreAccess::open(dir / "store", options, *host);
            const Scope scope = store.scope("orders");
            for (std::uint64_t id = 0; scope.contains(id_of(0)) || id == 0; ++id) {
              scope.mark(id_of(id));
              host->advance(1ms);
            }
            store.transact([&](Transaction& tx) { tx.mark(scope, "with an effect"); });
            ::raise(SIGKILL);
            return 1;
          })) == -SIGKILL);
  host->reboot();
  const Store store = StoreAccess::open(dir / "store", options, *host);
  CHECK(store.scope("orders").contains("with an effect"));
  CHECK(store.known_since() > sent);
  CHECK(store.scope("orders").mark(id_of(0), {.sent_at = sent}) == Verdict::too_old);
}

TEST_CASE("a capped store with many small blocks to delete opens after a reboot, with every live id") {
  const TempDir dir;
  FakeHost host;
  Options options = capped(std::uint64_t{1} << 20);
  options.flush_interval = 1h;
  std::uint64_t marked = 0;
  std::uint64_t oldest = 0;
  {
    const Store store = StoreAccess::open(dir / "store", options, host);
    const Scope scope = store.scope("orders");
    for (; marked < 6'000; ++marked) {
      scope.mark(id_of(marked));
      if (marked % 10 == 9) store.sync();
    }
    // More at once than the cap allows: buckets are dropped that are only in the ring, others wait to be deleted.
    for (; marked < 40'000; ++marked) scope.mark(id_of(marked));
    REQUIRE(store.metrics().early_drops > 0);
    store.expire();  // So that the flusher drops no more.
    while (!scope.contains(id_of(oldest))) ++oldest;
  }
  host.reboot();
  const Scope scope = StoreAccess::open(dir / "store", options, host).scope("orders");
  for (std::uint64_t id = oldest; id < marked; ++id) REQUIRE(scope.contains(id_of(id)));
}

TEST_CASE("one mark under a clock that is a year ahead does not make all that comes later too old") {
  const TempDir dir;
  FakeHost host;
  const Options options = capped(std::uint64_t{1} << 20);
  std::uint64_t marked = 0;
  std::uint64_t too_old = 0;
  const auto now = [&] { return Time{std::chrono::microseconds{host.wall_us()}}; };
  const auto mark_many = [&](const Store& store) {
    const Scope scope = store.scope("orders");
    for (int i = 0; i < 40'000; ++i, ++marked) {
      host.advance(1ms);
      too_old += scope.mark(id_of(marked), {.sent_at = now() + 1us}) == Verdict::too_old;
      if (marked % 1'000 == 0) store.expire();
    }
    CHECK(store.known_since() <= now() + 1us);
  };
  {
    const Store store = StoreAccess::open(dir / "store", options, host);
    bool dropped_meanwhile = false;
    SUBCASE("and its bucket is dropped when the clock is right again") {}
    SUBCASE("and its bucket is dropped while it is ahead") {
      dropped_meanwhile = true;
    }
    store.scope("orders").mark("before");
    host.step_wall(365 * 24h);
    store.scope("orders").mark("glitch");
    if (dropped_meanwhile) mark_many(store);
    CHECK(too_old == 0);
    host.step_wall(-365 * 24h);
    store.expire();
    host.advance(1ms);
    const Time edge = now();
    mark_many(store);
    CHECK(too_old == 0);
    CHECK(store.scope("orders").mark("what may have been forgotten", {.sent_at = edge - 1h}) ==
          (dropped_meanwhile || store.known_since() > edge - 1h ? Verdict::too_old : Verdict::fresh));
  }
  host.reboot();
  host.advance(7 * 24h);
  const Store store = StoreAccess::open(dir / "store", options, host);
  mark_many(store);
  CHECK(too_old == 0);
}

TEST_CASE("what a cap has forgotten stays known over a boot whose clock is not set yet") {
  const TempDir dir;
  FakeHost host;
  const Options options = capped(std::uint64_t{1} << 20);
  Time known_since;
  {
    const Store store = StoreAccess::open(dir / "store", options, host);
    for (std::uint64_t id = 0; id < 40'000; ++id) {
      store.scope("orders").mark(id_of(id));
      host.advance(1ms);
    }
    store.expire();
    known_since = store.known_since();
  }
  host.reboot();
  host.step_wall(-300 * 24h);
  const Store store = StoreAccess::open(dir / "store", options, host);
  host.advance(50min);
  store.expire();
  CHECK(store.known_since() == known_since);
  SUBCASE("when it is set within the hour") {
    host.step_wall(300 * 24h);
    host.advance(2h);
    store.expire();
    CHECK(store.known_since() == known_since);
  }
  SUBCASE("but not when it never is: the clock was wrong before") {
    host.advance(11min);
    store.expire();
    CHECK(store.known_since() <= Time{std::chrono::microseconds{host.wall_us() + 1}});
  }
}

TEST_CASE("data.mdb is never larger than its cap, however small or large the commits, and most of it is live records") {
  struct Row {
    std::uint64_t cap;
    std::size_t id_bytes;
    unsigned marks;  // In each commit.
    double least_live;
  };
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  Row row{};
  SUBCASE("one mark a commit") {
    row = {kMiB, 600, 1, 0.25};
  }
  SUBCASE("leaves of many small blocks") {
    row = {kMiB, 36, 20, 0.4};
  }
  SUBCASE("blocks of just over half a page") {
    row = {kMiB, 36, 40, 0.2};
  }
  SUBCASE("blocks of just over a page") {
    row = {kMiB, 36, 80, 0.3};
  }
  SUBCASE("more than waits at once") {
    row = {kMiB, 36, 1000, 0.35};
  }
  SUBCASE("records of just over half a page") {
    row = {kMiB, 1020, 40, 0.2};
  }
  SUBCASE("a larger cap") {
    row = {4 * kMiB, 36, 1000, 0.6};
  }
  CAPTURE(row.cap);
  CAPTURE(row.marks);
  const TempDir dir(memory_directory());  // Thousands of commits.
  Options options = capped(row.cap);
  options.flush_interval = 1h;
  const Store store = Store::open(dir / "store", options);
  const Scope scope = store.scope("orders");
  double least_live = 1;
  std::uint64_t number = 0;
  while (store.metrics().head.value < 4 * row.cap) {
    for (unsigned i = 0; i < row.marks; ++i) {
      const std::string id = std::to_string(number++);
      scope.mark(id + std::string(row.id_bytes - id.size(), '-'));
    }
    store.sync();
    REQUIRE(data_bytes(dir) <= row.cap);
    if (store.metrics().head.value > 2 * row.cap) {
      least_live = std::min(least_live, static_cast<double>(live_bytes(store)) / static_cast<double>(row.cap));
    }
  }
  CHECK(least_live > row.least_live);
}

TEST_CASE("data.mdb is never larger than its cap with records of many pages among small ones, and transactions") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  std::uint64_t cap = std::uint64_t{4} << 20;
  std::uint64_t user_bytes = 0;  // Not counted: with what was replaced, and is not free yet.
  SUBCASE("alone") {}
  SUBCASE("with user tables besides") {
    cap = std::uint64_t{1} << 20;
    user_bytes = std::uint64_t{256} << 10;
  }
  const std::uint64_t most = cap / 32 - 4096;
  const TempDir dir;
  const Store store = Store::open(dir / "store", capped(cap));
  const Scope scope = store.scope("orders");
  std::uint64_t number = 0;
  std::uint64_t kind = 0;
  while (store.metrics().head.value < 12 * cap) {
    if (number % 500 == 0) kind = random() % 4;
    std::string result;
    if (kind == 1 || (kind == 2 && random() % 8 == 0)) result.assign(random() % most, 'r');
    if (kind == 3) result.assign(1'000 + random() % 9'000, 'r');
    scope.mark(id_of(number++), {.result = result});
    if (random() % 64 == 0) store.sync();
    if (random() % 50 == 0) {
      store.transact([&](Transaction& tx) {
        if (user_bytes != 0) tx.put("effects", std::to_string(number % 16), std::string(1'000, 'e'));
        tx.mark(scope, id_of(number++), {.result = std::string(random() % (most / 2), 't')});
        tx.mark(scope, id_of(number++));
      });
    }
    REQUIRE(data_bytes(dir) <= cap + user_bytes);
  }
  CHECK(store.metrics().early_drops > 0);
  // What is newest stays.
  for (std::uint64_t id = number - 3; id < number; ++id) CHECK(scope.contains(id_of(id)));
}

TEST_CASE("data.mdb is never larger than its cap when several processes mark and look up at full speed") {
  constexpr std::uint64_t kCap = std::uint64_t{2} << 20;
  constexpr unsigned kProcesses = 3;
  const TempDir dir;
  Store::open(dir / "store", {.max_bytes = kCap, .flush_interval = 1ms});
  std::vector<pid_t> children;
  for (unsigned process = 0; process < kProcesses; ++process) {
    children.push_back(spawn([&dir, process]() -> int {
      const Store store = Store::open(dir / "store", {.flush_interval = 1ms});
      const Scope scope = store.scope("orders");
      const auto id = [](unsigned of, std::uint64_t n) { return std::to_string(of) + " " + id_of(n); };
      for (std::uint64_t n = 0; n < 60'000; ++n) {
        scope.mark(id(process, n));
        if (n % 3 == 0) scope.contains(id((process + 1) % kProcesses, n - std::min<std::uint64_t>(n, 500)));
      }
      store.sync();
      return 0;
    }));
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  CHECK(data_bytes(dir) <= kCap);
  const Store store = Store::open(dir / "store");
  CHECK(store.metrics().head.value > 4 * kCap);
  CHECK(live_bytes(store) > kCap / 2);
}

TEST_CASE("data.mdb is never larger than its cap when only transactions, each of another process, have large records") {
  constexpr std::uint64_t kCap = std::uint64_t{4} << 20;
  const TempDir dir(memory_directory());
  Options options = capped(kCap);
  options.flush_interval = 1h;
  Store::open(dir / "store", options);
  std::uint64_t number = 0;
  for (int round = 0; round < 150; ++round) {
    REQUIRE(wait_for(spawn([&]() -> int {
              const Store store = Store::open(dir / "store", options);
              const Scope scope = store.scope("orders");
              // Commits of a page or two each, so that what is forgotten of them later is scattered.
              for (int i = 0; i < 20; ++i) {
                scope.mark(id_of(number++));
                store.sync();
              }
              for (int i = 0; i < 2'000; ++i) scope.mark(id_of(number++));
              store.sync();
              return 0;
            })) == 0);
    number += 10'000;
    REQUIRE(wait_for(spawn([&]() -> int {
              const Store store = Store::open(dir / "store", options);
              const Scope scope = store.scope("orders");
              store.transact([&](Transaction& tx) {
                tx.mark(scope, id_of(number), {.result = std::string(kCap / 32 - 4096, 'r')});
              });
              expect(scope.contains(id_of(number)), "the id of the transaction");
              return 0;
            })) == 0);
    ++number;
    CAPTURE(round);
    REQUIRE(data_bytes(dir) <= kCap);
  }
  CHECK(Store::open(dir / "store").metrics().early_drops > 0);
}

TEST_CASE("while a stopped reader pins what is freed, a capped store forgets no more for it") {
  constexpr std::uint64_t kCap = std::uint64_t{1} << 20;
  const TempDir dir(memory_directory());
  Options options = capped(kCap);
  options.flush_interval = 1h;
  const Store store = Store::open(dir / "store", options);
  const Scope scope = store.scope("orders");
  store.transact([](Transaction& tx) { tx.put("effects", "key", "value"); });
  std::uint64_t number = 0;
  while (store.metrics().early_drops == 0) {
    for (int i = 0; i < 50; ++i) scope.mark(id_of(number++));
    store.sync();
  }
  const Shared<std::atomic<bool>> reads;
  const pid_t reader = spawn([&]() -> int {
    Store::open(dir / "store", {.read_only = true}).scan_table("effects", "", [&](auto, auto) {
      *reads = true;
      return ::pause() == 0;
    });
    return 1;
  });
  const bool pins = holds_soon([&] { return reads->load(); });
  // Records of several pages: where only scattered pages are free, a slice is forgotten for some in a row.
  std::string size("one page");
  std::size_t result_bytes = 100;
  SUBCASE("for records of less than a page") {}
  SUBCASE("for records of several pages") {
    size = "several pages";
    result_bytes = 8'000;
  }
  CAPTURE(size);
  const auto mark_one = [&] {
    scope.mark(id_of(number++), {.result = std::string(result_bytes, 'r')});
    store.sync();
  };
  for (int i = 0; pins && i < 1'000 && data_bytes(dir) <= kCap; ++i) mark_one();
  for (int i = 0; pins && i < 30; ++i) mark_one();
  CHECK(data_bytes(dir) > kCap);  // It was pinned.
  CHECK(live_bytes(store) > kCap / 3);
  ::kill(reader, SIGKILL);
  CHECK(wait_for(reader) == -SIGKILL);
  CHECK(pins);
  // What a killed reader pins can be used at once.
  const std::uint64_t bytes = data_bytes(dir);
  for (int i = 0; i < 30; ++i) mark_one();
  CHECK(data_bytes(dir) == bytes);
}

TEST_CASE("what a reboot's first user saves of the ring does not make data.mdb larger than its cap") {
  constexpr std::uint64_t kCap = std::uint64_t{1} << 20;
  const TempDir dir;
  const Shared<FakeHost> host;
  Options options = capped(kCap);
  options.flush_interval = 1h;
  for (int life = 0; life < 4; ++life) {
    REQUIRE(wait_for(spawn([&]() -> int {
              const Store store = StoreAccess::open(dir / "store", options, *host);
              const Scope scope = store.scope("orders");
              for (int i = 0; i < 20'000; ++i) scope.mark(id_of(static_cast<std::uint64_t>(life * 20'000 + i)));
              ::raise(SIGKILL);
              return 1;
            })) == -SIGKILL);
    for (const char* name : {"filter-", "index-"}) {
      for (const auto& entry : std::filesystem::directory_iterator(dir / "store")) {
        if (entry.path().filename().string().starts_with(name)) std::filesystem::remove(entry.path());
      }
    }
    CHECK(StoreAccess::open(dir / "store", {.read_only = true}, *host)
              .scope("orders")
              .contains(id_of(static_cast<std::uint64_t>(life * 20'000 + 19'999))));
    CHECK(data_bytes(dir) <= kCap);
  }
}

TEST_CASE("under a cap a result or a transaction's marks that no commit could put on disk within it are refused") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", capped(std::uint64_t{1} << 20));
  const Scope scope = store.scope("orders");
  const std::string large(32 << 10, 'r');
  CHECK(error_code_of([&] { scope.mark("a", {.result = large}); }) == ErrorCode::invalid_argument);
  CHECK_FALSE(scope.contains("a"));
  CHECK(error_code_of([&] {
          store.transact([&](Transaction& tx) {
            for (int i = 0; i < 3; ++i)
              tx.mark(scope, id_of(0) + std::to_string(i), {.result = large.substr(12 << 10)});
          });
        }) == ErrorCode::invalid_argument);
  Store::open(dir / "store", {.max_bytes = 0});
  CHECK(scope.mark("a", {.result = large}) == Verdict::fresh);
}
