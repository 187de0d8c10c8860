#include "clock.h"

#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

Clock clock_on(const FakeHost& host) {
  return {host, host.wall_us() - host.boot_us()};
}

}  // namespace

TEST_CASE("while both clocks agree, records and retention follow the wall clock") {
  FakeHost host;
  const Clock clock = clock_on(host);
  for (int i = 1; i <= 100; ++i) {
    host.advance(5s);
    CHECK(clock.stamp_us() == FakeHost::kStartUs + i * 5'000'000);
    CHECK(clock.retention_us() == clock.stamp_us());
    CHECK(clock.fault_us() == 0);
  }
}

TEST_CASE("a wall clock that jumps forward moves no retention, and shows as a fault") {
  FakeHost host;
  const Clock clock = clock_on(host);
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
  const Clock clock = clock_on(host);
  host.step_wall(80s);
  CHECK(clock.stamp_us() == FakeHost::kStartUs + 80'000'000);
  host.advance(3s);
  CHECK(clock.stamp_us() == FakeHost::kStartUs + 83'000'000);
}

TEST_CASE("a wall clock that jumps backward holds retention back, but no stamps, and is no fault") {
  FakeHost host;
  const Clock clock = clock_on(host);
  host.step_wall(-1h);
  CHECK(clock.stamp_us() == FakeHost::kStartUs);
  CHECK(clock.retention_us() == FakeHost::kStartUs - 3'600'000'000);
  CHECK(clock.fault_us() == 0);
  host.advance(5s);
  CHECK(clock.stamp_us() == FakeHost::kStartUs + 5'000'000);
}
