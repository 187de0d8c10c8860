#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("an id is fresh once, in its scope") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope orders = store.scope("orders");
  const Scope mails = store.scope("mails");
  CHECK_FALSE(orders.contains("m-1"));
  const Marked first = orders.mark("m-1");
  CHECK(first == Verdict::fresh);
  CHECK(orders.contains("m-1"));
  CHECK_FALSE(mails.contains("m-1"));
  CHECK(orders.mark("m-1") == Marked{Verdict::duplicate, first.lsn});
  CHECK(mails.mark("m-1") == Verdict::fresh);
  const auto record = orders.find("m-1");
  REQUIRE(record);
  CHECK(record->scope == "orders");
  CHECK(record->id == "m-1");
  CHECK(record->lsn == first.lsn);
}

TEST_CASE("marks survive closing and opening again, and losing every derived file") {
  const TempDir dir;
  {
    const Scope orders = Store::open(dir / "store").scope("orders");
    for (int i = 0; i < 10'000; ++i) REQUIRE(orders.mark("m-" + std::to_string(i)) == Verdict::fresh);
  }
  const auto all_known = [&] {
    const Scope orders = Store::open(dir / "store", {.create = false}).scope("orders");
    for (int i = 0; i < 10'000; ++i) REQUIRE(orders.contains("m-" + std::to_string(i)));
    REQUIRE_FALSE(orders.contains("m-10000"));
  };
  all_known();
  for (const auto& entry : std::filesystem::directory_iterator(dir / "store")) {
    if (entry.path().extension() != ".mdb") std::filesystem::remove(entry.path());
  }
  all_known();
}

TEST_CASE("a batch marks in order, and its second occurrence of an id is a duplicate") {
  const TempDir dir;
  const Scope orders = Store::open(dir / "store").scope("orders");
  const Ids ids(300, [](std::size_t i) { return std::to_string(i % 200); });
  std::vector<Marked> marked(ids.size());
  orders.mark(ids, marked);
  for (std::size_t i = 0; i < 300; ++i) CHECK(marked[i] == (i < 200 ? Verdict::fresh : Verdict::duplicate));
  for (std::size_t i = 200; i < 300; ++i) CHECK(marked[i].lsn == marked[i - 200].lsn);
}

TEST_CASE("an id is a duplicate until its retention is over, and fresh after") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 80s}, host);
  const Scope orders = store.scope("orders");
  CHECK(orders.mark("a") == Verdict::fresh);
  host.advance(80s - 1us);
  CHECK(orders.contains("a"));
  CHECK(orders.mark("a") == Verdict::duplicate);
  host.advance(1us);
  CHECK_FALSE(orders.contains("a"));
  CHECK(orders.mark("a") == Verdict::fresh);
}

TEST_CASE("durable() passes a record when wait() returns") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1h});
  const Scope orders = store.scope("orders");
  const Marked marked = orders.mark("a");
  store.wait(marked.lsn);
  CHECK(store.durable() > marked.lsn);
  const Marked next = orders.mark("b", Ack::disk);
  CHECK(store.durable() > next.lsn);
}

TEST_CASE("with the smallest ring and ids of 1 to 1024 bytes, batches answer what single calls answer") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.ring_bytes = std::uint64_t{64} << 10});
  const Scope scope = store.scope("s");
  std::map<std::string, Lsn> model;
  std::vector<std::string> drawn;
  const auto draw = [&]() -> std::string {
    if (!drawn.empty() && random() % 3 == 0) return drawn[random() % drawn.size()];
    drawn.push_back(std::to_string(random()).substr(0, 1 + random() % 12));
    drawn.back().resize(1 + random() % kMaxIdBytes, 'x');
    return drawn.back();
  };
  const std::uint64_t rounds = scaled(150, 30);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const Ids ids(random() % 200, [&](std::size_t) { return draw(); });
    std::vector<Marked> marked(ids.size());
    scope.mark(ids, marked);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto [known, fresh] = model.try_emplace(ids[i], marked[i].lsn);
      REQUIRE(marked[i] == Marked{fresh ? Verdict::fresh : Verdict::duplicate, known->second});
    }
    const std::string single = draw();
    const Marked one = scope.mark(single);
    const auto [known, fresh] = model.try_emplace(single, one.lsn);
    REQUIRE(one == Marked{fresh ? Verdict::fresh : Verdict::duplicate, known->second});

    const Ids asked(
        100, [&](std::size_t i) { return i % 4 == 0 ? "never-" + std::to_string(i) : drawn[random() % drawn.size()]; });
    const auto contained = std::make_unique<bool[]>(asked.size());
    std::vector<std::optional<Record>> found(asked.size());
    scope.contains(asked, std::span(contained.get(), asked.size()));
    scope.find(asked, found);
    for (std::size_t i = 0; i < asked.size(); ++i) {
      const auto expected = model.find(asked[i]);
      REQUIRE(contained[i] == (expected != model.end()));
      REQUIRE(scope.contains(asked[i]) == contained[i]);
      REQUIRE(found[i].has_value() == contained[i]);
      const auto alone = scope.find(asked[i]);
      REQUIRE(alone.has_value() == contained[i]);
      if (!contained[i]) continue;
      REQUIRE(found[i]->lsn == expected->second);
      REQUIRE(found[i]->id == asked[i]);
      REQUIRE(alone->lsn == found[i]->lsn);
      REQUIRE(alone->processed_at == found[i]->processed_at);
    }
  }
  CHECK(store.metrics().head.value > 4 * store.metrics().ring_bytes);  // All of it written over, several times.
}

TEST_CASE("a record is read from the ring before and after its flush, and from the log when it is written over") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1h, .ring_bytes = std::uint64_t{64} << 10});
  const Scope scope = store.scope("s");
  scope.mark("a");
  CHECK(scope.contains("a"));
  store.sync();
  CHECK(scope.contains("a"));
  CHECK(store.metrics().log_reads == 0);
  for (int i = 0; i < 80; ++i) scope.mark(std::to_string(i) + std::string(1000, 'x'));
  CHECK(scope.contains("a"));
  CHECK(scope.find("a"));
  CHECK(store.metrics().log_reads == 2);
}

TEST_CASE("waiting for an LSN that no record has yet is refused, for one that is on disk it returns at once") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1h});
  const Scope scope = store.scope("s");
  CHECK(error_code_of([&] { store.wait(Lsn{8}); }) == ErrorCode::invalid_argument);
  const Marked marked = scope.mark("a");
  CHECK(error_code_of([&] { store.wait(Lsn{1 << 20}); }) == ErrorCode::invalid_argument);
  store.sync();
  const std::uint64_t flushes = store.metrics().flushes;
  store.wait(marked.lsn);
  CHECK(store.metrics().flushes == flushes);
}

TEST_CASE("a store with nothing to do commits nothing") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1ms});
  const Scope scope = store.scope("s");
  CHECK(store.metrics().flushes == 0);
  scope.mark("a");
  store.sync();
  const std::uint64_t flushes = store.metrics().flushes;
  CHECK(flushes >= 1);
  for (int i = 0; i < 100; ++i) {
    store.sync();
    store.expire();
    scope.mark("a", Ack::disk);  // A duplicate, and on disk.
  }
  CHECK(store.metrics().flushes == flushes);
}

TEST_CASE("scopes keep their ids over closing, and a scope outlives its store") {
  const TempDir dir;
  {
    const Store store = Store::open(dir / "store");
    store.scope("a").mark("only a");
    store.scope("b").mark("only b");
  }
  const auto scope_b = [&] {
    const Store store = Store::open(dir / "store");
    return store.scope("b");
  }();
  CHECK(scope_b.name() == "b");
  CHECK(scope_b.contains("only b"));
  CHECK_FALSE(scope_b.contains("only a"));
  CHECK(scope_b.mark("more") == Verdict::fresh);
  CHECK(Store::open(dir / "store").scope("b").contains("more"));
}

TEST_CASE("a store names the scopes that were used, oldest first") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  CHECK(store.scopes().empty());
  store.scope("orders");
  store.scope("mails");
  store.scope("orders");
  CHECK(store.scopes() == std::vector<std::string>{"orders", "mails"});
}

TEST_CASE("ids and scope names outside their bounds are refused by every call, and nothing of their batch is marked") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("s");
  for (const std::string& bad : {std::string(), std::string(kMaxIdBytes + 1, 'x')}) {
    CHECK(error_code_naming("bytes", [&] { scope.mark(bad); }) == ErrorCode::invalid_argument);
    CHECK(error_code_of([&] { scope.contains(bad); }) == ErrorCode::invalid_argument);
    CHECK(error_code_of([&] { scope.find(bad); }) == ErrorCode::invalid_argument);
    for (const std::size_t size : {2U, 100U}) {
      const Ids ids(size, [&](std::size_t i) { return i + 1 < size ? "good" : bad; });
      std::vector<Marked> marked(size);
      CHECK(error_code_of([&] { scope.mark(ids, marked); }) == ErrorCode::invalid_argument);
      CHECK_FALSE(scope.contains("good"));
      CHECK(error_code_of([&] { scope.mark(std::span(ids).first(1), marked); }) == ErrorCode::invalid_argument);
    }
  }
  CHECK(error_code_of([&] { store.scope(""); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { store.scope(std::string(kMaxScopeBytes + 1, 's')); }) == ErrorCode::invalid_argument);
  const std::string longest(kMaxIdBytes, '\0');
  for (const Scope& longest_scope : {scope, store.scope(std::string(kMaxScopeBytes, 's'))}) {
    CHECK(longest_scope.mark(longest) == Verdict::fresh);
    CHECK(longest_scope.contains(longest));
    CHECK(longest_scope.mark(longest) == Verdict::duplicate);
    CHECK_FALSE(longest_scope.contains(longest.substr(1)));
  }
  scope.mark(std::span<const std::string_view>{}, {}, Ack::disk);  // An empty batch is none.
}

TEST_CASE("the metrics count what was asked and answered") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.retention = 1h, .buckets = 4});
  const Scope scope = store.scope("s");
  for (int i = 0; i < 100; ++i) scope.mark(std::to_string(i));
  for (int i = 0; i < 30; ++i) scope.mark(std::to_string(i));
  for (int i = 90; i < 110; ++i) scope.contains(std::to_string(i));
  store.sync();
  const Metrics metrics = store.metrics();
  CHECK(metrics.marks_fresh == 100);
  CHECK(metrics.marks_not_fresh == 30);
  CHECK(metrics.checks == 20);
  CHECK(metrics.checks_known == 10);
  CHECK(metrics.host_records == 100);
  CHECK(metrics.filter_candidates >= 40);
  CHECK(metrics.flushed_bytes == metrics.head.value - 8);
  CHECK(metrics.durable == metrics.head);
  CHECK(metrics.durable == store.durable());
  CHECK(metrics.retention == 1h);
  CHECK(metrics.buckets == 4);
  CHECK(metrics.ids == 100);
  CHECK(metrics.log_blocks >= 1);
  CHECK(metrics.data_bytes > 0);
  CHECK(metrics.dead_owners == 0);
  CHECK(metrics.longest_flush >= metrics.last_flush);
  CHECK(metrics.last_error.empty());
}

TEST_CASE("of many threads that mark the same ids, exactly one gets each fresh") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.expected_ids = 1, .ring_bytes = std::uint64_t{64} << 10});
  const Scope scope = store.scope("s");
  const std::uint64_t ids = scaled(20'000, 4'000);
  constexpr unsigned kThreads = 4;
  std::atomic<std::uint64_t> fresh{0};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<Marked> marked(16);
      for (std::uint64_t at = 0; at < ids; at += 16) {
        const Ids batch(16, [&](std::size_t i) { return std::to_string(at + i) + std::string(40, '-'); });
        if (t % 2 == 0) {
          scope.mark(batch, marked);
        } else {
          for (std::size_t i = 0; i < 16; ++i) marked[i] = scope.mark(batch[i]);
        }
        for (std::size_t i = 0; i < 16; ++i) {
          if (marked[i] == Verdict::fresh) fresh.fetch_add(1);
          const auto record = scope.find(batch[i]);
          if (!record || record->lsn != marked[i].lsn) wrong.fetch_add(1);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(fresh.load() == (ids + 15) / 16 * 16);
  CHECK(wrong.load() == 0);
}

TEST_CASE("threads that ask for the disk share commits, and each finds its mark below durable()") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1h});
  const Scope scope = store.scope("s");
  std::atomic<std::uint64_t> late{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const Marked marked = scope.mark(std::to_string(t) + "-" + std::to_string(i), Ack::disk);
        if (store.durable() <= marked.lsn) late.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(late.load() == 0);
  CHECK(store.metrics().flushes <= 200);
}

TEST_CASE("threads that end leave their reader slot to the next") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.max_readers = 4});
  const Scope scope = store.scope("s");
  for (int i = 0; i < 40; ++i) {
    std::thread([&] { scope.mark(std::to_string(i)); }).join();
  }
  CHECK(scope.contains("39"));
}

TEST_CASE("one thread more than max_readers is told so, and the others go on") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.max_readers = 5});
  const Scope scope = store.scope("s");  // One is this thread's.
  std::atomic<int> served{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 7; ++t) {
    threads.emplace_back([&] {
      try {
        scope.contains("a");
        served.fetch_add(1);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::too_many_readers) refused.fetch_add(1);
      }
      wait_until([&] { return served.load() + refused.load() == 7; });  // Keeps its slot until all have asked.
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(served.load() == 4);
  CHECK(refused.load() == 3);
  CHECK_FALSE(scope.contains("a"));
}

TEST_CASE("a thread needs one reader slot, whatever it asks for") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.expected_ids = 1, .max_readers = 1});
  const Scope scope = store.scope("s");
  scope.mark("a", {.correlation = "chain"});
  store.sync();
  CHECK(scope.contains("a"));
  CHECK(store.scope("another").mark("a") == Verdict::fresh);
  CHECK(store.metrics().ids == 2);
  const Claim claim = scope.begin("b", 1h);
  REQUIRE(store.claims().size() == 1);
  CHECK(store.claims()[0].scope == "s");
  std::size_t scanned = 0;
  store.scan({}, [&](const Record& record) { return ++scanned, store.scope(record.scope).contains(record.id); });
  CHECK(scanned == 2);
  REQUIRE(store.correlated("chain").size() == 1);
  CHECK(store.correlated("chain")[0].scope == "s");
}

TEST_CASE("what a call runs for its caller may destroy the store's last handle") {
  const TempDir dir;
  const auto filled = [&] {
    auto store = std::make_unique<Store>(Store::open(dir / "store"));
    const Scope scope = store->scope("s");
    for (int i = 0; i < 100; ++i) scope.mark(std::to_string(i));
    store->transact([](Transaction& tx) {
      tx.put("t", "a", "1");
      tx.put("t", "b", "2");
    });
    return store;
  };
  int visited = 0;
  SUBCASE("scan") {
    auto store = filled();
    store->scan({}, [&](const Record& record) {
      store.reset();
      CHECK(record.scope == "s");
      return ++visited != 50;
    });
    CHECK(visited == 50);
  }
  SUBCASE("scan_table") {
    auto store = filled();
    store->scan_table("t", "", [&](std::string_view, std::string_view value) {
      store.reset();
      CHECK(value.size() == 1);
      return ++visited != 0;
    });
    CHECK(visited == 2);
  }
  SUBCASE("transact") {
    auto store = filled();
    store->transact([&](Transaction& tx) {
      store.reset();
      tx.put("t", "c", "3");
    });
    CHECK(Store::open(dir / "store").get("t", "c") == "3");
  }
  // It is closed: nothing holds it any more.
  CHECK(Store::open(dir / "store", {.max_bytes = std::uint64_t{1} << 20}).scope("s").contains("99"));
}
