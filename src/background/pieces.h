#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/crew.h"

namespace oncelog::internal {

// More of them gain nothing: memory is the bound.
inline constexpr unsigned kMostThreads = 16;

/// Has several threads work on `total` units, up to `most` at a time: each calls make() for what it needs of its own,
/// and that with (first unit, how many units) for one piece after the other. Throws as run_in_crew.
template <typename Make>
void in_pieces(unsigned threads, const char* name, std::uint64_t total, std::uint64_t most, Make make) {
  std::atomic<std::uint64_t> next{0};  // Relaxed: it only hands out.
  run_in_crew(threads, name, [&] {
    auto work = make();
    for (;;) {
      const std::uint64_t first = next.fetch_add(most, std::memory_order_relaxed);
      if (first >= total) return;
      work(first, std::min(most, total - first));
    }
  });
}

}  // namespace oncelog::internal
