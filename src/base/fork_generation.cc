#include "base/fork_generation.h"

#include <pthread.h>

#include <atomic>

namespace oncelog::internal {
namespace {

constinit std::atomic<std::uint64_t> fork_count{0};

// Relaxed: the child has one thread. When the program is loaded, so that no fork comes before it.
[[maybe_unused]] const int kWatched =
    pthread_atfork(nullptr, nullptr, [] { fork_count.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

std::uint64_t fork_generation() {
  return fork_count.load(std::memory_order_relaxed);  // Relaxed: written before the child's first thread continues.
}

}  // namespace oncelog::internal
