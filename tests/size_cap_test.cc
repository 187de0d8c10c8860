#include <cstdint>
#include <string>

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
  CHECK(store.metrics().data_bytes <= 2 * kCap);
  CHECK(store.known_since() > edge);
  // Everything processed since then is remembered, and what was not remembered was processed before.
  std::uint64_t forgotten = 0;
  while (!scope.contains(id_of(forgotten))) ++forgotten;
  CHECK(forgotten > 0);
  for (std::uint64_t id = forgotten; id < marked; ++id) REQUIRE(scope.contains(id_of(id)));
  const auto first = scope.find(id_of(forgotten));
  CHECK(first->processed_at >= store.known_since());
  CHECK(store.known_since() > first->processed_at - 1s);
  // The current bucket and most of the cap stay.
  CHECK(live_bytes(store) > kCap / 2);
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
