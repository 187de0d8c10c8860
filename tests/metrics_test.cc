#include <oncelog/metrics.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const ScopeMetrics& of_scope(const Metrics& metrics, std::string_view name) {
  const auto found = std::ranges::find(metrics.scopes, name, &ScopeMetrics::scope);
  REQUIRE(found != metrics.scopes.end());
  return *found;
}

std::uint64_t sum_of(const IdCounts& counts) {
  return counts.fresh + counts.duplicate + counts.in_progress + counts.conflict + counts.too_old + counts.completed +
         counts.late + counts.abandoned + counts.known + counts.unknown;
}

void check_shape(const HistogramMetrics& histogram) {
  REQUIRE_FALSE(histogram.buckets.empty());
  for (std::size_t i = 1; i < histogram.buckets.size(); ++i) {
    CHECK(histogram.buckets[i].up_to == doctest::Approx(2 * histogram.buckets[i - 1].up_to));
    CHECK(histogram.buckets[i].count >= histogram.buckets[i - 1].count);
  }
  CHECK(histogram.buckets.back().count <= histogram.count);
}

/// What the two processes of a test tell each other.
struct Signals {
  std::atomic<bool> marked{false};
  std::atomic<bool> go_on{false};
};

}  // namespace

TEST_CASE("every verdict, every end of a claim and every answer is counted once, in its scope") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 1h}, host);
  const Scope scope = store.scope("s");
  store.scope("other").mark("a");
  const std::array<std::string_view, 3> ids{"a", "b", "a"};

  CHECK(scope.mark("fresh") == Verdict::fresh);
  CHECK(scope.mark("fresh") == Verdict::duplicate);
  CHECK(scope.mark("with", {.fingerprint = 1}) == Verdict::fresh);
  CHECK(scope.mark("with", {.fingerprint = 2}) == Verdict::conflict);
  CHECK(scope.mark("old", {.sent_at = Time{}}) == Verdict::too_old);
  std::array<Marked, 3> marked;
  scope.mark(ids, marked);  // Two fresh, one duplicate.
  IdCounts counts = of_scope(store.metrics(), "s").process;
  CHECK(counts.fresh == 4);
  CHECK(counts.duplicate == 2);
  CHECK(counts.in_progress == 0);
  CHECK(counts.conflict == 1);
  CHECK(counts.too_old == 1);
  CHECK(sum_of(counts) == 8);

  Claim claim = scope.begin("c", 1s);
  CHECK(scope.mark("c") == Verdict::in_progress);
  CHECK(scope.begin("c", 1s) == Verdict::in_progress);
  claim.complete();
  scope.begin("d", 1s).abandon();
  Claim slow = scope.begin("e", 1s);
  host.advance(2s);
  const Claim quick = scope.begin("e", 1s);
  CHECK(quick == Verdict::fresh);
  CHECK_FALSE(slow.complete());
  {
    const std::array<std::string_view, 3> more{"a", "f", "g"};
    scope.begin(more, 1s).complete();  // One duplicate, two fresh.
    const ClaimBatch abandoned = scope.begin(std::array<std::string_view, 2>{"h", "i"}, 1s);
  }
  counts = of_scope(store.metrics(), "s").process;
  CHECK(counts.fresh == 4 + 4 + 2 + 2);
  CHECK(counts.duplicate == 3);
  CHECK(counts.in_progress == 2);
  CHECK(counts.completed == 3);
  CHECK(counts.abandoned == 3);
  CHECK(counts.late == 1);
  CHECK(store.metrics().takeovers == 1);
  CHECK(store.metrics().claims_held == 1);

  CHECK(scope.contains("a"));
  CHECK_FALSE(scope.contains("never"));
  CHECK(scope.find("b"));
  std::array<bool, 3> known{};
  scope.contains(std::array<std::string_view, 3>{"a", "never", "neither"}, known);
  const Metrics metrics = store.metrics();
  counts = of_scope(metrics, "s").process;
  CHECK(counts.known == 3);
  CHECK(counts.unknown == 3);
  CHECK(sum_of(of_scope(metrics, "other").process) == 1);
  CHECK(metrics.checks == 6);
  CHECK(metrics.checks_known == 3);
  CHECK(metrics.marks_fresh == counts.fresh + 1);
  CHECK(metrics.marks_not_fresh == 3 + 2 + 1 + 1);
  CHECK(sum_of(of_scope(metrics, "s").host) == sum_of(counts));  // Who asks has given the host its own.
  CHECK(metrics.host_filter_candidates == metrics.filter_candidates);
}

TEST_CASE("locks are claims that are held, and nothing that happens to an id") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  store.scope("s");
  {
    const Lock lock = store.lock("name", 1h);
    REQUIRE(lock);
    CHECK(store.metrics().claims_held == 1);
  }
  CHECK(store.metrics().claims_held == 0);
  CHECK(sum_of(of_scope(store.metrics(), "s").process) == 0);
}

TEST_CASE("a transaction's decisions are counted as told, and its claims by what became of it") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("s");
  store.transact([&](Transaction& tx) {
    Claim claim = scope.begin("claimed", 1h);
    CHECK(tx.complete(claim));
    CHECK(tx.mark(scope, "a") == Verdict::fresh);
    CHECK(tx.mark(scope, "a") == Verdict::duplicate);
  });
  Metrics metrics = store.metrics();
  CHECK(metrics.transactions == 1);
  IdCounts counts = of_scope(metrics, "s").process;
  CHECK(counts.fresh == 2);
  CHECK(counts.duplicate == 1);
  CHECK(counts.completed == 1);
  CHECK(sum_of(counts) == 4);

  CHECK_THROWS_AS(store.transact([&](Transaction& tx) {
    Claim claim = scope.begin("given up", 1h);
    CHECK(tx.complete(claim));
    throw std::runtime_error("the effect failed");
  }),
                  std::runtime_error);
  metrics = store.metrics();
  CHECK(metrics.transactions == 1);
  counts = of_scope(metrics, "s").process;
  CHECK(counts.fresh == 3);
  CHECK(counts.completed == 1);
  CHECK(counts.abandoned == 1);
  CHECK(sum_of(counts) == 6);
}

TEST_CASE("the host's figures are the sums over all processes, while they live and after they have closed the store") {
  const TempDir dir;
  const Shared<Signals> signals;
  const Options options{.flush_interval = 1ms};
  const pid_t child = spawn([&] {
    const Scope scope = Store::open(dir / "store", options).scope("s");
    for (int i = 0; i < 100; ++i) scope.mark("child " + std::to_string(i));
    for (int i = 0; i < 10; ++i) scope.contains("child " + std::to_string(i));
    signals->marked.store(true);
    expect(holds_soon([&] { return signals->go_on.load(); }), "the parent goes on");
    for (int i = 0; i < 5; ++i) scope.contains("nobody's");
    return 0;
  });
  REQUIRE(holds_soon([&] { return signals->marked.load(); }));
  const Store store = Store::open(dir / "store", options);
  const Scope scope = store.scope("s");
  for (int i = 0; i < 20; ++i) scope.mark("child " + std::to_string(i));
  // The child does nothing; its flusher's thread gives its counts to the host.
  CHECK(holds_soon([&] { return of_scope(store.metrics(), "s").host.known == 10; }));
  ScopeMetrics counts = of_scope(store.metrics(), "s");
  CHECK(counts.host.fresh == 100);
  CHECK(counts.host.duplicate == 20);
  CHECK(counts.process.fresh == 0);
  CHECK(counts.process.duplicate == 20);
  CHECK(counts.process.known == 0);
  signals->go_on.store(true);
  CHECK(wait_for(child) == 0);
  counts = of_scope(store.metrics(), "s");
  CHECK(counts.host.unknown == 5);
  CHECK(sum_of(counts.host) == 135);
  CHECK(store.metrics().host_mark_seconds.count == 1);  // Each process has made its 64th call by itself.
}

TEST_CASE("what a process has counted is the host's when it closes the store, however long its flush interval is") {
  const TempDir dir;
  const auto unknown = [&] {
    const Store store = Store::open(dir / "store");
    store.scope("s");
    return of_scope(store.metrics(), "s").host.unknown;
  };
  CHECK(unknown() == 0);
  for (const bool read_only : {false, true}) {
    CAPTURE(read_only);
    const std::uint64_t before = unknown();
    const pid_t child = spawn([&] {
      const Scope scope = Store::open(dir / "store", {.read_only = read_only, .flush_interval = 1h}).scope("s");
      scope.contains("never");
      return 0;
    });
    CHECK(wait_for(child) == 0);
    CHECK(unknown() == before + 1);
  }
}

TEST_CASE("a process that is killed takes none of the counts along that the host has had") {
  const TempDir dir;
  const Shared<Signals> signals;
  const pid_t child = spawn([&] {
    const Store store = Store::open(dir / "store");
    store.scope("s").mark("a");
    static_cast<void>(store.metrics());  // Gives the host what was counted.
    signals->marked.store(true);
    for (;;) ::pause();
    return 0;
  });
  REQUIRE(holds_soon([&] { return signals->marked.load(); }));
  const Store store = Store::open(dir / "store");
  ::kill(child, SIGKILL);
  CHECK(wait_for(child) == -SIGKILL);
  CHECK(of_scope(store.metrics(), "s").host.fresh == 1);
  CHECK(sum_of(of_scope(store.metrics(), "s").process) == 0);
}

TEST_CASE("no count of any thread is lost, whether the thread still runs or not") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1ms});
  const std::array<Scope, 2> scopes{store.scope("even"), store.scope("odd")};
  const int ids = static_cast<int>(scaled(20'000, 2'000));
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < ids; ++i) scopes[static_cast<std::size_t>(i) % 2].mark(std::to_string(i));
      if (t % 2 != 0) return;
      std::thread([&] { scopes[0].contains("0"); }).join();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Metrics metrics = store.metrics();
  for (const char* name : {"even", "odd"}) {
    const ScopeMetrics& scope = of_scope(metrics, name);
    CHECK(scope.process.fresh == static_cast<std::uint64_t>(ids) / 2);
    CHECK(scope.process.duplicate == (kThreads - 1) * static_cast<std::uint64_t>(ids) / 2);
    CHECK(sum_of(scope.host) == sum_of(scope.process));
  }
  CHECK(of_scope(metrics, "even").process.known == kThreads / 2);
}

TEST_CASE("the first 63 scopes have counts of their own, and all others share one without a name") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const auto name_of = [](int number) { return "scope " + std::to_string(number); };
  for (int i = 1; i <= 63; ++i) store.scope(name_of(i)).mark("a");
  CHECK(store.metrics().scopes.size() == 63);
  for (int i = 64; i <= 70; ++i) store.scope(name_of(i)).mark("a");
  const Metrics metrics = store.metrics();
  REQUIRE(metrics.scopes.size() == 64);
  for (int i = 1; i <= 63; ++i) {
    CHECK(metrics.scopes[static_cast<std::size_t>(i) - 1].scope == name_of(i));
    CHECK(metrics.scopes[static_cast<std::size_t>(i) - 1].host.fresh == 1);
  }
  CHECK(metrics.scopes.back().scope.empty());
  CHECK(metrics.scopes.back().process.fresh == 7);
  CHECK(metrics.scopes.back().host.fresh == 7);
}

TEST_CASE("every group commit is in the histograms of its time and size, and no bucket forgets what is in another") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1h});
  const Scope scope = store.scope("s");
  for (int i = 0; i < 10; ++i) {
    scope.mark(std::to_string(i));
    store.sync();
  }
  for (int i = 0; i < 10'000; ++i) scope.mark("more " + std::to_string(i));
  store.sync();
  const Metrics metrics = store.metrics();
  check_shape(metrics.flush_seconds);
  check_shape(metrics.flush_bytes);
  CHECK(metrics.flushes >= 11);
  CHECK(metrics.flush_seconds.count == metrics.flushes);
  CHECK(metrics.flush_bytes.count == metrics.flushes);
  CHECK(metrics.flush_bytes.sum == static_cast<double>(metrics.flushed_bytes));
  CHECK(metrics.flush_seconds.sum * 1e6 >= static_cast<double>(metrics.longest_flush.count()) - 1);
  const auto up_to = [&](double bytes) {
    return std::ranges::find(metrics.flush_bytes.buckets, bytes, &HistogramMetrics::Bucket::up_to)->count;
  };
  CHECK(up_to(64) >= 10);  // One small record each.
  CHECK(up_to(1 << 30) == metrics.flushes);
  CHECK(up_to(64) < metrics.flushes);
}

TEST_CASE("every 64th call of a thread that marks or checks one id is timed, and no other") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("s");
  // By turns: neither kind takes the other's samples.
  for (int i = 0; i < 640; ++i) {
    scope.mark(std::to_string(i));
    scope.contains(std::to_string(i));
  }
  const std::array<std::string_view, 2> ids{"a", "b"};
  std::array<Marked, 2> marked;
  std::array<bool, 2> known{};
  for (int i = 0; i < 64; ++i) {
    scope.mark(ids, marked);
    scope.contains(ids, known);
  }
  const Metrics metrics = store.metrics();
  for (const auto& histogram :
       {metrics.mark_seconds, metrics.check_seconds, metrics.host_mark_seconds, metrics.host_check_seconds}) {
    check_shape(histogram);
    CHECK(histogram.count == 10);
    CHECK(histogram.sum > 0);
  }
}
