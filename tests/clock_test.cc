#include "base/clock.h"

#include <random>
#include <vector>

#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

struct TestClock : Clock {
  explicit TestClock(const FakeHost& host) : Clock(host, anchor) { anchor.offset_us = host.wall_us() - host.boot_us(); }
  TestClock(const TestClock&) = delete;
  TestClock& operator=(const TestClock&) = delete;
  ClockAnchor anchor{};
};

constexpr std::int64_t kRetentionUs = 24 * Clock::kLeastSettleUs;

}  // namespace

TEST_CASE("while both clocks agree, records and retention follow the wall clock") {
  FakeHost host;
  const TestClock clock(host);
  for (int i = 1; i <= 100; ++i) {
    host.advance(5s);
    CHECK(clock.stamp_us() == FakeHost::kStartUs + i * 5'000'000);
    CHECK(clock.retention_us() == clock.stamp_us());
    CHECK(clock.fault_us() == 0);
  }
}

TEST_CASE("a wall clock that jumps forward moves no retention, and shows as a fault") {
  FakeHost host;
  const TestClock clock(host);
  host.step_wall(1h);
  CHECK(clock.retention_us() == FakeHost::kStartUs);
  CHECK(clock.fault_us() == 3'600'000'000);
  host.advance(2s);
  CHECK(clock.retention_us() == FakeHost::kStartUs + 2'000'000);
  host.step_wall(-1h);
  CHECK(clock.fault_us() == 0);
  CHECK(clock.retention_us() == FakeHost::kStartUs + 2'000'000);
}

TEST_CASE("a wall clock that jumps forward stamps records with its time, in case it was set right") {
  FakeHost host;
  const TestClock clock(host);
  host.step_wall(80s);
  CHECK(clock.stamp_us() == FakeHost::kStartUs + 80'000'000);
  host.advance(3s);
  CHECK(clock.stamp_us() == FakeHost::kStartUs + 83'000'000);
}

TEST_CASE("a wall clock that jumps backward holds retention back, but no stamps, and is no fault") {
  FakeHost host;
  const TestClock clock(host);
  host.step_wall(-1h);
  CHECK(clock.stamp_us() == FakeHost::kStartUs);
  CHECK(clock.retention_us() == FakeHost::kStartUs - 3'600'000'000);
  CHECK(clock.fault_us() == 0);
  host.advance(5s);
  CHECK(clock.stamp_us() == FakeHost::kStartUs + 5'000'000);
}

TEST_CASE("a wall clock that stays ahead for the retention was set right, and is followed") {
  FakeHost host;
  TestClock clock(host);
  const auto settle = [&] { clock.settle(clock.anchor, kRetentionUs); };
  CHECK_FALSE(clock.wants_settling(kRetentionUs));
  host.step_wall(30 * 24h);
  CHECK(clock.wants_settling(kRetentionUs));
  settle();
  host.advance(24h - 1us);
  CHECK_FALSE(clock.wants_settling(kRetentionUs));
  settle();
  CHECK(clock.fault_us() == std::chrono::microseconds(30 * 24h).count());
  host.advance(1us);
  CHECK(clock.wants_settling(kRetentionUs));
  settle();
  CHECK(clock.fault_us() == 0);
  CHECK(clock.retention_us() == host.wall_us());
  CHECK_FALSE(clock.wants_settling(kRetentionUs));
}

TEST_CASE("a wall clock that comes back before the retention is over is not followed") {
  FakeHost host;
  TestClock clock(host);
  for (int i = 0; i < 5; ++i) {
    host.step_wall(1h);
    for (int hour = 0; hour < 23; ++hour) {
      clock.settle(clock.anchor, kRetentionUs);
      host.advance(1h);
    }
    host.step_wall(-1h);
    clock.settle(clock.anchor, kRetentionUs);
    CHECK_FALSE(clock.wants_settling(kRetentionUs));
    CHECK(clock.retention_us() == host.boot_us() + clock.anchor.offset_us);
    CHECK(clock.retention_us() == host.wall_us());
  }
}

TEST_CASE("several jumps are followed each when it has lasted, by the least that the clock was ahead") {
  FakeHost host;
  TestClock clock(host);
  const auto settle_after = [&](std::chrono::microseconds passed) {
    host.advance(passed);
    clock.settle(clock.anchor, kRetentionUs);
  };
  host.step_wall(10h);
  settle_after(0h);
  host.step_wall(2s);
  settle_after(12h);
  host.step_wall(-4s);  // The clock is slewed.
  settle_after(11h);
  host.step_wall(5h);
  settle_after(1h);
  CHECK(clock.fault_us() == std::chrono::microseconds(5h).count());
  settle_after(24h);
  CHECK(clock.fault_us() == 0);
}

TEST_CASE("a store of a short retention waits an hour before it follows") {
  FakeHost host;
  TestClock clock(host);
  host.step_wall(5min);
  clock.settle(clock.anchor, 10'000);
  host.advance(59min);
  clock.settle(clock.anchor, 10'000);
  CHECK(clock.fault_us() != 0);
  host.advance(1min);
  clock.settle(clock.anchor, 10'000);
  CHECK(clock.fault_us() == 0);
}

TEST_CASE("a wall clock that was set back for good is followed, so that stamps run ahead of it no longer") {
  FakeHost host;
  TestClock clock(host);
  host.step_wall(-2h);
  clock.settle(clock.anchor, kRetentionUs);
  CHECK(clock.stamp_us() == host.wall_us() + std::chrono::microseconds(2h).count());
  host.advance(24h);
  clock.settle(clock.anchor, kRetentionUs);
  CHECK(clock.stamp_us() == host.wall_us());
  CHECK(clock.retention_us() == host.wall_us());
}

TEST_CASE("however the wall clock jumps, no record is past its retention before its retention has passed") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  FakeHost host;
  TestClock clock(host);
  struct Stamped {
    std::int64_t boot_us;
    std::int64_t stamp_us;
  };
  std::vector<Stamped> records;
  std::int64_t followed = 0;
  for (int step = 0; step < 20'000; ++step) {
    const std::int64_t before_us = clock.anchor.offset_us;
    const auto hours = std::chrono::hours{static_cast<int>(random() % 400)};
    const std::uint64_t dice = random() % 100;
    if (dice < 3) host.step_wall(dice < 2 ? hours : -hours);
    if (dice == 4) host.step_wall(std::chrono::milliseconds{random() % 5'000});
    clock.settle(clock.anchor, kRetentionUs);
    const std::int64_t last_us = records.empty() ? 0 : records.back().stamp_us;
    records.push_back({host.boot_us(), std::max(last_us, clock.stamp_us())});
    host.advance(std::chrono::minutes{random() % 120});
    clock.settle(clock.anchor, kRetentionUs);
    followed += clock.anchor.offset_us != before_us;
    for (std::size_t i = records.size() < 200 ? 0 : records.size() - 200; i < records.size(); ++i) {
      if (records[i].stamp_us + kRetentionUs <= clock.retention_us()) {
        REQUIRE(host.boot_us() - records[i].boot_us >= kRetentionUs);
      }
    }
  }
  CHECK(followed > 10);
}
