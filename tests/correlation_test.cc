#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

using Texts = std::vector<std::string>;

const Options kOptions{.retention = 80s, .buckets = 8, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 64 << 10};

Texts chain(const Store& store, std::string_view correlation) {
  Texts ids;
  Lsn last;
  for (const Record& record : store.correlated(correlation)) {
    CHECK(record.correlation == correlation);
    CHECK(record.lsn > last);
    CHECK_FALSE(record.forgotten);
    last = record.lsn;
    ids.push_back(record.scope + "/" + record.id);
  }
  return ids;
}

}  // namespace

TEST_CASE("a correlation's records are told over all scopes, oldest first, each with what it keeps") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  CHECK(store.correlated("c").empty());
  const Scope orders = store.scope("orders");
  const Scope mails = store.scope("mails");
  orders.mark("1", {.correlation = "c", .result = "first"});
  mails.mark("1", {.correlation = "c"});
  orders.mark("2", {.correlation = "d"});
  orders.mark("3");
  orders.mark("c");  // An id of that name is no member.
  mails.begin("2", 1h, {.correlation = "c"}).complete();
  orders.mark("1", {.correlation = "d"});  // A duplicate joins nothing.
  CHECK(chain(store, "c") == Texts{"orders/1", "mails/1", "mails/2"});
  CHECK(chain(store, "d") == Texts{"orders/2"});
  CHECK(store.correlated("c")[0].result == "first");
  CHECK(orders.contains("1", "c"));
  CHECK_FALSE(orders.contains("1", "d"));
  CHECK_FALSE(orders.contains("3", "c"));
  CHECK_FALSE(orders.contains("unknown", "c"));
  CHECK_FALSE(store.scope("other").contains("1", "c"));
}

TEST_CASE("a chain runs over buckets, tables, flushes and rebuilds, and loses its oldest as they expire") {
  const TempDir dir;
  FakeHost host;
  Texts expected;
  std::optional<Store> store = StoreAccess::open(dir / "store", kOptions, host);
  const int count = static_cast<int>(scaled(3'000, 600));
  std::size_t first = 0;
  std::vector<std::int64_t> times;
  for (int i = 0; i < count; ++i) {
    const std::string id = std::to_string(i);
    const Scope scope = store->scope(i % 3 == 0 ? "mails" : "orders");
    REQUIRE(scope.mark(id, {.correlation = "c"}) == Verdict::fresh);
    REQUIRE(scope.mark("other " + id, {.correlation = i % 2 == 0 ? "d" : id}) == Verdict::fresh);
    expected.push_back(scope.name() + "/" + id);
    times.push_back(host.wall_us());
    host.advance(100ms);
    if (i % 97 == 0) store->sync();
    if (i % 211 == 0) {
      store.reset();
      if (i % 2 == 0) remove_derived(dir / "store");
      store = StoreAccess::open(dir / "store", kOptions, host);
    }
    while (times[first] + 80'000'000 <= host.wall_us()) ++first;
    if (i % 53 == 0)
      REQUIRE(chain(*store, "c") == Texts(expected.begin() + static_cast<std::ptrdiff_t>(first), expected.end()));
  }
  host.advance(80s);
  CHECK(chain(*store, "c").empty());
  store->expire();
  CHECK(chain(*store, "c").empty());
  store->scope("orders").mark("anew", {.correlation = "c"});
  CHECK(chain(*store, "c") == Texts{"orders/anew"});
}

TEST_CASE("two chains that take turns are told apart, whatever else is marked between") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  Texts even;
  Texts odd;
  for (int i = 0; i < 1'000; ++i) {
    const std::string id = std::to_string(i);
    scope.mark(id, {.correlation = i % 2 == 0 ? "even" : "odd"});
    (i % 2 == 0 ? even : odd).push_back("orders/" + id);
    for (int j = 0; j < i % 5; ++j) scope.mark("between " + id + " " + std::to_string(j));
  }
  CHECK(chain(store, "even") == even);
  CHECK(chain(store, "odd") == odd);
}

TEST_CASE("one chain may have 10,000 records, each appended and told at the same cost") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  const int count = static_cast<int>(scaled(10'000, 1'000));
  const std::uint64_t reads_before = store.metrics().log_reads;
  for (int i = 0; i < count; ++i) scope.mark(std::to_string(i), {.correlation = "c"});
  // Looks at the chain's end alone, which is in the ring; and at what older tables lead to, until the bucket that has
  // outgrown them has healed.
  CHECK(store.metrics().log_reads - reads_before < static_cast<std::uint64_t>(4 * count));
  store.sync();
  CHECK(store.correlated("c").size() == static_cast<std::size_t>(count));
  // One copy and one look-up for each.
  CHECK(store.metrics().log_reads - reads_before < static_cast<std::uint64_t>(8 * count));
}

TEST_CASE("a forgotten record leaves its chain, and joins the one it is marked with anew") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  for (const char* id : {"1", "2", "3"}) scope.mark(id, {.correlation = "c"});
  CHECK(scope.forget("2"));
  CHECK(chain(store, "c") == Texts{"orders/1", "orders/3"});
  CHECK_FALSE(scope.contains("2", "c"));
  scope.mark("2", {.correlation = "d"});
  CHECK(chain(store, "c") == Texts{"orders/1", "orders/3"});
  CHECK(chain(store, "d") == Texts{"orders/2"});
  CHECK(scope.forget("3"));
  scope.mark("3", {.correlation = "c"});
  CHECK(chain(store, "c") == Texts{"orders/1", "orders/3"});
}

TEST_CASE("whoever reads a chain while threads append to it is told all that was acknowledged before") {
  const TempDir dir;
  Options options = kOptions;
  options.retention = 1h;
  options.flush_interval = 1ms;
  const Store store = Store::open(dir / "store", options);
  const Scope scope = store.scope("orders");
  const std::size_t count = scaled(20'000, 2'000);
  std::atomic<std::size_t> done{0};
  std::vector<std::thread> threads;
  std::atomic<std::size_t> next{0};
  // The newest alone is asked for all the time: of a chain that is short, since it begins anew now and then.
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (std::size_t id = next++; id < count; id = next++) {
        const std::string correlation = "c " + std::to_string(id / 50);
        scope.mark(std::to_string(id), {.correlation = correlation});
        ++done;
      }
    });
  }
  std::size_t reads = 0;
  while (done.load() < count) {
    const std::size_t at = done.load();
    // Of the chain before the newest, all that will ever be in it may be there; of what was counted, all is there.
    const std::size_t group = at / 50;
    const std::size_t before = at - group * 50;
    const std::size_t seen = store.correlated("c " + std::to_string(group)).size();
    // Two threads: what was taken first may be acknowledged last.
    REQUIRE(seen + 2 >= before);
    ++reads;
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t group = 0; group * 50 < count; ++group) {
    REQUIRE(store.correlated("c " + std::to_string(group)).size() == 50);
  }
  CHECK(reads > 0);
}
