#include "base/crew.h"

#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/quiet_thread.h"

namespace oncelog::internal {
namespace {

/// The first exception of several threads.
class FirstFailure {
 public:
  void note(std::exception_ptr failure) {
    const std::lock_guard guard(mutex_);
    if (!first_) first_ = std::move(failure);
  }
  /// Once all threads have ended.
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr first_;
};

}  // namespace

void run_in_crew(unsigned threads, const char* name, const std::function<void()>& work) {
  FirstFailure failure;
  const auto run = [&] {
    try {
      work();
    } catch (...) {
      failure.note(std::current_exception());
    }
  };
  std::vector<std::thread> others;
  others.reserve(threads);
  try {
    while (others.size() + 1 < threads) others.push_back(start_quiet_thread(name, run));
  } catch (const std::exception&) {
    // The work is done by those that there are. Out of memory, too: those that run have to be joined.
  }
  run();
  for (std::thread& other : others) other.join();
  failure.rethrow();
}

}  // namespace oncelog::internal
