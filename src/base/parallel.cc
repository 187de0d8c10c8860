#include "base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <oncelog/error.h>

#include "base/quiet_thread.h"

namespace oncelog::internal {
namespace {

constexpr unsigned kMostThreads = 16;

/// The jobs that are left, and the first exception.
struct Jobs {
  const std::size_t count;
  const std::function<void(std::size_t)>& job;
  std::atomic<std::size_t> next{0};  // Relaxed: the threads' ends order what the jobs did.
  std::mutex mutex;
  std::exception_ptr failure;

  void work() noexcept {
    try {
      for (std::size_t i = take(); i < count; i = take()) job(i);
    } catch (...) {  // Thrown on by run_parallel.
      next.store(count, std::memory_order_relaxed);
      const std::lock_guard guard(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  std::size_t take() { return next.fetch_add(1, std::memory_order_relaxed); }
};

}  // namespace

unsigned usable_threads() {
  cpu_set_t usable;
  if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return 1;
  return std::clamp(static_cast<unsigned>(CPU_COUNT(&usable)), 1U, kMostThreads);
}

void run_parallel(std::size_t jobs, unsigned threads, const std::function<void(std::size_t)>& job) {
  Jobs all{jobs, job, {}, {}, {}};
  std::vector<std::thread> others;
  const std::size_t most = std::min<std::size_t>(threads, jobs);
  others.reserve(most);
  try {
    while (others.size() + 1 < most) others.push_back(start_quiet_thread("work in parallel", [&] { all.work(); }));
  } catch (const Error&) {
    // Those that there are do it all.
  }
  all.work();
  for (std::thread& other : others) other.join();
  if (all.failure) std::rethrow_exception(all.failure);
}

}  // namespace oncelog::internal
