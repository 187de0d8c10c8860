#pragma once

#include <cstddef>
#include <functional>

namespace oncelog::internal {

/// How many threads work of this process's own may use: the processors that it may run on, at most 16.
unsigned usable_threads();

/// Calls job(i) once for each i below `jobs`, on up to `threads` threads, the calling one among them, in no order.
/// Returns when all have returned. When one throws, those that have not begun are left out, and the first exception is
/// thrown on. Where the system cannot start a thread, fewer do the work.
void run_parallel(std::size_t jobs, unsigned threads, const std::function<void(std::size_t)>& job);

}  // namespace oncelog::internal
