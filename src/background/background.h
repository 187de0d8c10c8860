#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>

namespace oncelog::internal {

/// The background work of all stores of this process: a few threads and one timer for any number of them. There is one
/// thread while one store is open; with more, another one watches the timer while a busy store's run is under way, so
/// that a store whose disk or lock makes it wait delays no other (up to kMaxThreads of them). The threads are there
/// from the first task's registration to the last one's end, and get no signals. A child of a fork has none of its
/// parent's tasks and makes threads of its own.
///
/// Thread safety: all of it; a task is not destroyed by its own run. A registered task costs a few words of memory,
/// each run a few steps for each task: thousands are no burden.
class Background {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr std::size_t kMaxThreads = 16;

  /// When a task wants to run again.
  struct Next {
    Clock::time_point due;
    /// It may as well run from then on, when a thread is awake anyway; so idle tasks come to run together.
    Clock::time_point earliest;
    /// Its next run takes microseconds and waits for nothing: no other thread has to watch the timer meanwhile.
    bool brief = false;

    static Next at(Clock::time_point due) { return {due, due}; }
  };

  struct Entry;  // A task as the scheduler sees it.

  class Task {
   public:
    /// `run` is called by one thread at a time, first at once, and must not throw. Throws Error::io when the system has
    /// no thread to give.
    explicit Task(std::function<Next()> run);
    Task(const Task&) = delete;
    Task& operator=(const Task&) = delete;
    /// Waits for the end of a run that is under way; there is none after that.
    ~Task();

    /// Has it run at `when` at the latest; once more, when it is running. A short lock, and a system call where a
    /// thread has to be woken.
    void run_by(Clock::time_point when);
    void run_now() { run_by(Clock::time_point::min()); }

   private:
    const std::unique_ptr<Entry> entry_;
  };

  /// While it exists, no task of this process runs. For tests that fork under a sanitizer, whose allocator does not
  /// survive a fork while another thread is in it. Waits for the runs that are under way, but gives up on those that
  /// take longer than `patience`. Not for a task's own run.
  class Pause {
   public:
    explicit Pause(std::chrono::milliseconds patience);

   private:
    std::unique_lock<std::mutex> lock_;
  };
};

}  // namespace oncelog::internal
