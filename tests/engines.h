#pragma once

#include <memory>

#include <oncelog/testing.h>

#include "support.h"

namespace oncelog::testing {

/// The engines of one host, as engine_test.cc opens them: each makes a store of its own, and time passes when it is
/// told to.

/// A store on disk, whose clocks a test steps.
struct Local {
  TempDir dir;
  FakeHost host;

  Store open(const Options& options) { return StoreAccess::open(dir / "store", options, host); }
  void advance(std::chrono::microseconds by) { host.advance(by); }
  Time now() const { return Time{std::chrono::microseconds{host.wall_us()}}; }
};

/// The same in memory.
struct InMemory {
  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();

  Store open(const Options& options) { return open_in_memory(options, clock); }
  void advance(std::chrono::microseconds by) { clock->advance(by); }
  Time now() const { return clock->now(); }
};

}  // namespace oncelog::testing

#define ONCELOG_ENGINES oncelog::testing::Local, oncelog::testing::InMemory
#define ONCELOG_LOCAL_ENGINES ONCELOG_ENGINES
