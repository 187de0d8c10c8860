#pragma once

#ifdef ONCELOG_FAILPOINTS
#include <signal.h>

#include <atomic>
#include <cstdint>
#endif

namespace oncelog::internal {

/// Places at which a test has the process die, compiled in for the tests of crashes alone: the n-th one passed after
/// failpoints.arm(n) is the last. Elsewhere failpoint() is nothing, and another function to the linker.
#ifdef ONCELOG_FAILPOINTS
inline namespace compiled_in {
struct Failpoints {
  std::atomic<std::uint64_t> left{0};

  void arm(std::uint64_t nth) { left.store(nth, std::memory_order_relaxed); }  // Relaxed: one thread counts.
  void pass() {
    if (left.load(std::memory_order_relaxed) != 0 && left.fetch_sub(1, std::memory_order_relaxed) == 1)
      ::raise(SIGKILL);
  }
};
inline Failpoints failpoints;
inline void failpoint() {
  failpoints.pass();
}
}  // namespace compiled_in
#else
inline void failpoint() {}
#endif

}  // namespace oncelog::internal
