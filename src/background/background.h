#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>

namespace oncelog::internal {

/// The background work of all stores of this process: a few threads and one timer for any number of stores. While one
/// store is open there is one thread. With more stores another thread, up to kMaxThreads in all, watches the timer
/// while a busy store's run is under way, so that a store that waits for its disk or a lock delays no other. The
/// threads live from the registration of the first task to the end of the last one, and receive no signals. The child
/// of a fork has none of its parent's tasks, and starts threads of its own.
///
/// Thread-safe; a task must not be destroyed by its own run. A registered task costs a few words of memory, and each
/// run a few steps for every task: thousands are no burden.
class Background {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr std::size_t kMaxThreads = 16;

  /// When a task wants to run again.
  struct Next {
    Clock::time_point due;
    /// It may run from then on if a thread is awake anyway, so that idle tasks come to run together.
    Clock::time_point earliest;
    /// Its next run takes microseconds and waits for nothing, so that no other thread has to watch the timer meanwhile.
    bool brief = false;

    static Next at(Clock::time_point due) { return {due, due}; }
  };

  struct Entry;  // A task as the scheduler sees it.

  class Task {
   public:
    /// `run` is called by one thread at a time, the first time at once, and must not throw. Throws Error::io when the
    /// system cannot start a thread.
    explicit Task(std::function<Next()> run);
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    /// Waits for a run that is under way to end; no other follows.
    ~Task();

    /// Makes it run at `when` at the latest, and once more if it is running. Costs a short lock, and a system call if a
    /// thread has to be woken.
    void run_by(Clock::time_point when);
    void run_now() { run_by(Clock::time_point::min()); }

   private:
    const std::unique_ptr<Entry> entry_;
  };

  /// While one exists, no task of this process runs. For tests that fork under a sanitizer, whose allocator does not
  /// survive a fork while another thread is in it. Waits for the runs that are under way, at most for `patience`. Not
  /// for a task's own run.
  class Pause {
   public:
    explicit Pause(std::chrono::milliseconds patience);

   private:
    std::unique_lock<std::mutex> lock_;
  };
};

}  // namespace oncelog::internal
