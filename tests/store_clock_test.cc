#include <optional>
#include <string>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

Time at(std::chrono::microseconds since_start) {
  return Time{std::chrono::microseconds{FakeHost::kStartUs} + since_start};
}

}  // namespace

TEST_CASE("when the wall clock jumps forward nothing is forgotten early, and the metrics say what happened") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 80s}, host);
  const Scope scope = store.scope("s");
  CHECK(scope.mark("before") == Verdict::fresh);
  CHECK(store.metrics().clock_fault == 0us);
  host.step_wall(1h);
  CHECK(store.metrics().clock_fault == 1h);
  CHECK(scope.contains("before"));
  CHECK(scope.mark("before") == Verdict::duplicate);
  CHECK(scope.mark("after") == Verdict::fresh);
  CHECK(store.expire().buckets == 0);
  host.advance(80s - 1us);
  CHECK(scope.contains("before"));
  host.advance(1us);
  CHECK_FALSE(scope.contains("before"));
  // Its stamp is ahead, and so it is kept longer.
  REQUIRE(scope.contains("after"));
  CHECK(scope.find("after")->processed_at == at(1h));
  host.advance(1h - 1us);
  CHECK(scope.contains("after"));
  host.advance(1us);
  CHECK_FALSE(scope.contains("after"));
}

TEST_CASE("an id marked while the wall clock was behind is kept for its retention after the clock is set right") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 1h}, host);
  const Scope scope = store.scope("s");
  CHECK(scope.mark("a") == Verdict::fresh);
  host.step_wall(-5h);
  host.advance(2h);
  CHECK(scope.mark("b") == Verdict::fresh);
  host.step_wall(5h);
  CHECK_FALSE(scope.contains("a"));
  CHECK(scope.contains("b"));
  host.advance(1h - 1us);
  CHECK(scope.contains("b"));
  host.advance(1us);
  CHECK_FALSE(scope.contains("b"));
}

TEST_CASE("what a wrong clock has made the store forget before its time is too old, not fresh") {
  const TempDir dir;
  FakeHost host;
  const Options options{.retention = 24h};
  const Time sent = at(0us);
  SUBCASE("when the host booted with it") {
    StoreAccess::open(dir / "store", options, host).scope("s").mark("paid");
    host.reboot();
    host.step_wall(48h);
    const Store store = StoreAccess::open(dir / "store", options, host);
    host.step_wall(-48h);
    CHECK(store.known_since() > sent);
    CHECK(store.scope("s").mark("paid", {.sent_at = sent}) == Verdict::too_old);
  }
  SUBCASE("when the flusher expired by it") {
    host.step_wall(-48h);
    std::optional<Store> store = StoreAccess::open(dir / "store", options, host);
    store->scope("s").mark("first");
    store.reset();
    host.reboot();
    host.step_wall(48h);
    store = StoreAccess::open(dir / "store", options, host);
    store->scope("s").mark("paid");
    store.reset();
    host.reboot();
    host.step_wall(48h);
    store = StoreAccess::open(dir / "store", options, host);
    host.advance(24h);
    store->expire();
    host.step_wall(-72h);
    CHECK(store->known_since() > sent);
    CHECK(store->scope("s").mark("paid", {.sent_at = sent}) == Verdict::too_old);
  }
}

TEST_CASE("when the wall clock jumps backward, processed_at stands still and nothing is forgotten") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 80s}, host);
  const Scope scope = store.scope("s");
  host.advance(5s);
  CHECK(scope.mark("a") == Verdict::fresh);
  host.step_wall(-1h);
  CHECK(scope.mark("b") == Verdict::fresh);
  CHECK(scope.find("a")->processed_at == at(5s));
  CHECK(scope.find("b")->processed_at == at(5s));
  CHECK(store.metrics().clock_fault == 0us);
  host.advance(80s);
  CHECK(scope.contains("a"));
  host.advance(1h - 1us);
  CHECK(scope.contains("a"));
  CHECK(scope.contains("b"));
  host.advance(1us);
  CHECK_FALSE(scope.contains("a"));
  CHECK_FALSE(scope.contains("b"));
}

TEST_CASE("when the lanes run out because the wall clock runs ahead, the current bucket goes on") {
  const TempDir dir;
  FakeHost host;
  // 14 slices are a retention: with records of one retention before the jump and one ahead of the boot clock there
  // are more slices than lanes.
  const Store store = StoreAccess::open(dir / "store", {.retention = 140s, .buckets = 14}, host);
  const Scope scope = store.scope("s");
  int ids = 0;
  const auto mark = [&] { REQUIRE(scope.mark(std::to_string(ids++)) == Verdict::fresh); };
  for (int slice = 0; slice < 13; ++slice) {
    mark();
    host.advance(10s);
  }
  for (int slice = 0; slice < 14; ++slice) {
    mark();
    host.step_wall(10s);
  }
  const Metrics metrics = store.metrics();
  REQUIRE(metrics.live_buckets.size() == 16);
  CHECK(metrics.live_buckets.back().ids > 1);
  CHECK(metrics.ids == static_cast<std::uint64_t>(ids));
  for (int id = 0; id < ids; ++id) REQUIRE(scope.contains(std::to_string(id)));
  host.advance(300s);
  store.expire();
  mark();
  CHECK(store.metrics().live_buckets.size() == 1);
}

TEST_CASE("a store that was opened before the clock was set follows it after a retention, in every process") {
  const TempDir dir;
  const Shared<FakeHost> host;
  const Options options{.retention = 24h, .expected_ids = 1, .flush_interval = 1h};
  const std::uint64_t kPerHour = 10;
  std::uint64_t marked = 0;
  const auto hours = [&](const Store& store, int count) {
    for (int hour = 0; hour < count; ++hour) {
      for (std::uint64_t i = 0; i < kPerHour; ++i) {
        REQUIRE(store.scope("s").mark(std::to_string(marked++)) == Verdict::fresh);
      }
      host->advance(1h);
      store.expire();
    }
  };
  {
    const Store store = StoreAccess::open(dir / "store", options, *host);
    hours(store, 1);
    host->step_wall(30 * 24h);
    store.scope("s").mark("a business key");
    hours(store, 23);
    CHECK(store.scope("s").contains("a business key"));
    CHECK(store.metrics().clock_fault > 0us);
    hours(store, 2);
    CHECK_FALSE(store.scope("s").contains("a business key"));
    CHECK_FALSE(store.scope("s").contains("0"));
    CHECK(store.metrics().clock_fault == 0us);
    hours(store, 24 * 3);
    CHECK(store.metrics().ids <= (24 + 3 + 1) * kPerHour);
    CHECK(store.known_since() == Time{std::chrono::microseconds{host->wall_us()}} - 24h + 1us);
    for (std::uint64_t id = marked - 23 * kPerHour; id < marked; ++id)
      REQUIRE(store.scope("s").contains(std::to_string(id)));
    // Another process sees the same.
    const auto newest = std::to_string(marked - 1);
    const auto gone = std::to_string(marked - 25 * kPerHour);
    CHECK(wait_for(spawn([&] {
            const Store other = StoreAccess::open(dir / "store", options, *host);
            return other.metrics().clock_fault == 0us && other.scope("s").contains(newest) &&
                           !other.scope("s").contains(gone)
                       ? 0
                       : 1;
          })) == 0);
    // And what another one follows, this one follows.
    host->step_wall(10 * 24h);
    CHECK(wait_for(spawn([&] {
            const Store other = StoreAccess::open(dir / "store", options, *host);
            other.expire();
            host->advance(24h);
            other.expire();
            return 0;
          })) == 0);
    CHECK(store.metrics().clock_fault == 0us);
    CHECK_FALSE(store.scope("s").contains(newest));
  }
  // Opened again in the same boot, it goes on with the clock that it follows.
  const Store store = StoreAccess::open(dir / "store", options, *host);
  CHECK(store.metrics().clock_fault == 0us);
}

TEST_CASE("after the clock was set back for good, ids are remembered for a retention again once it has lasted") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 24h, .flush_interval = 1h}, host);
  const Scope scope = store.scope("s");
  scope.mark("before");
  host.step_wall(-48h);
  store.expire();
  for (int hour = 0; hour < 24 + 48; ++hour) {
    host.advance(1h);
    store.expire();
  }
  CHECK_FALSE(scope.contains("before"));
  REQUIRE(scope.mark("after") == Verdict::fresh);
  host.advance(24h - 1us);
  CHECK(scope.contains("after"));
  host.advance(1us);
  CHECK_FALSE(scope.contains("after"));
}
