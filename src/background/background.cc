#include "background/background.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <oncelog/error.h>

#include "base/fork_generation.h"
#include "base/quiet_thread.h"

namespace oncelog::internal {
namespace {

class Scheduler;

}  // namespace

// Guarded by the scheduler's mutex, except for `run` and `scheduler`.
struct Background::Entry {
  std::function<Next()> run;
  Scheduler* scheduler = nullptr;
  Next next = Next::at(Clock::time_point::min());
  bool running = false;
};

namespace {

using Clock = Background::Clock;
using Entry = Background::Entry;

/// The tasks of one process. Its threads are alike: of those that run no task one watches the timer, and the others,
/// the spare ones, wait until nobody watches it.
class Scheduler {
 public:
  Scheduler(std::uint64_t generation, Scheduler* inherited) : generation_(generation), inherited_(inherited) {}

  /// This process's scheduler. Never destroyed: a static object may be the last to close a store. A child of a fork
  /// leaves its parent's alone, whose mutex may be locked for ever.
  static Scheduler& of_this_process();

  void add(Entry& entry);
  void remove(Entry& entry);
  void run_by(Entry& entry, Clock::time_point when);
  std::unique_lock<std::mutex> pause(std::chrono::milliseconds patience);

 private:
  struct Worker {
    std::thread thread;
    bool leaving = false;  // No longer counted below.
  };

  void add_worker();
  void have_timer_watched();
  void work(Worker& self);
  void wait_for_work(std::unique_lock<std::mutex>& lock, Worker& self, Clock::time_point due);
  void run(std::unique_lock<std::mutex>& lock, Entry& entry);

  const std::uint64_t generation_;
  /// The parent's, after a fork. Never touched; kept so that a leak checker finds it.
  [[maybe_unused]] Scheduler* const inherited_;
  std::mutex mutex_;
  std::condition_variable timer_;      // If timer_watched_, one thread waits here.
  std::condition_variable unwatched_;  // The spare threads wait here.
  std::condition_variable run_ended_;
  std::condition_variable paused_;
  std::vector<Entry*> tasks_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::size_t running_ = 0;       // Threads that run a task.
  std::size_t long_running_ = 0;  // Those of them whose run is not brief.
  std::size_t spare_ = 0;
  bool pausing_ = false;
  bool timer_watched_ = false;
  Clock::time_point timer_due_{};  // If timer_watched_, the time that is waited for.
};

Scheduler& Scheduler::of_this_process() {
  static constinit std::atomic<Scheduler*> current{nullptr};
  // Acquire: pairs with the release below.
  Scheduler* known = current.load(std::memory_order_acquire);
  while (known == nullptr || known->generation_ != fork_generation()) {
    auto made = std::make_unique<Scheduler>(fork_generation(), known);
    if (current.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) known = made.release();
  }
  return *known;
}

void Scheduler::add(Entry& entry) {
  const std::lock_guard guard(mutex_);
  tasks_.push_back(&entry);
  if (workers_.empty()) {
    try {
      add_worker();
    } catch (const std::exception&) {
      tasks_.pop_back();
      throw;
    }
  } else if (timer_watched_) {
    timer_.notify_one();
  } else if (long_running_ != 0) {
    // The run under way began when its task was the only one, so nobody watches the timer for this one.
    have_timer_watched();
  }
}

void Scheduler::remove(Entry& entry) {
  std::vector<std::unique_ptr<Worker>> ended;
  {
    std::unique_lock lock(mutex_);
    std::erase(tasks_, &entry);
    run_ended_.wait(lock, [&] { return !entry.running; });
    if (tasks_.empty()) {
      ended.swap(workers_);
      for (const auto& worker : ended) worker->leaving = true;
      // No longer counted from here on: the next task must not rely on a thread that is about to end.
      timer_watched_ = false;
      spare_ = 0;
      timer_.notify_all();
      unwatched_.notify_all();
    }
  }
  for (const auto& worker : ended) worker->thread.join();
}

void Scheduler::run_by(Entry& entry, Clock::time_point when) {
  const std::lock_guard guard(mutex_);
  entry.next.brief = false;
  entry.next.due = std::min(entry.next.due, when);
  entry.next.earliest = std::min(entry.next.earliest, when);
  // Otherwise a thread that is running a task looks at it afterwards.
  if (timer_watched_ && when < timer_due_) timer_.notify_one();
}

std::unique_lock<std::mutex> Scheduler::pause(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  pausing_ = true;
  run_ended_.wait_for(lock, patience, [&] { return running_ == 0; });
  pausing_ = false;
  paused_.notify_all();  // They continue once the caller releases the lock.
  return lock;
}

/// Called under the mutex.
void Scheduler::add_worker() {
  auto worker = std::make_unique<Worker>();
  Worker& made = *worker;
  workers_.reserve(workers_.size() + 1);
  made.thread = start_quiet_thread("the background work of its stores", [this, &made] { work(made); });
  workers_.push_back(std::move(worker));
}

/// Called under the mutex when there are tasks besides those that run: makes a thread watch the timer for them.
void Scheduler::have_timer_watched() {
  if (timer_watched_) return;
  if (spare_ != 0) {
    unwatched_.notify_one();
  } else if (running_ >= workers_.size() && workers_.size() < Background::kMaxThreads) {
    try {
      add_worker();
    } catch (const std::exception&) {
      // Without another thread the other tasks wait until a run ends.
    }
  }
}

void Scheduler::work(Worker& self) {
  std::unique_lock lock(mutex_);
  for (;;) {
    paused_.wait(lock, [&] { return !pausing_; });
    if (self.leaving) return;
    Entry* first = nullptr;  // The one that is due first.
    for (Entry* task : tasks_) {
      if (!task->running && (first == nullptr || task->next.due < first->next.due)) first = task;
    }
    if (first != nullptr && first->next.earliest <= Clock::now()) {
      run(lock, *first);
    } else {
      wait_for_work(lock, self, first == nullptr ? Clock::time_point::max() : first->next.due);
    }
  }
}

void Scheduler::wait_for_work(std::unique_lock<std::mutex>& lock, Worker& self, Clock::time_point due) {
  if (timer_watched_) {
    ++spare_;
    unwatched_.wait(lock, [&] { return self.leaving || !timer_watched_; });
    if (!self.leaving) --spare_;
    return;
  }
  timer_watched_ = true;
  timer_due_ = due;
  if (due == Clock::time_point::max()) {
    timer_.wait(lock);
  } else {
    timer_.wait_until(lock, due);
  }
  if (!self.leaving) timer_watched_ = false;
}

void Scheduler::run(std::unique_lock<std::mutex>& lock, Entry& entry) {
  const bool brief = entry.next.brief;
  entry.running = true;
  ++running_;
  if (!brief) {
    ++long_running_;
    if (tasks_.size() > 1) have_timer_watched();
  }
  entry.next = {Clock::time_point::max(), Clock::time_point::max()};
  lock.unlock();
  const Background::Next next = entry.run();
  lock.lock();
  entry.running = false;
  --running_;
  if (!brief) --long_running_;
  if (next.due < entry.next.due) {
    entry.next = next;
  } else {
    entry.next.earliest = std::min(entry.next.earliest, next.earliest);
  }
  // The thread that watches the timer does not know of it yet.
  if (timer_watched_ && entry.next.due < timer_due_) timer_.notify_one();
  run_ended_.notify_all();
}

}  // namespace

Background::Task::Task(std::function<Next()> run) : entry_(std::make_unique<Entry>()) {
  entry_->run = std::move(run);
  entry_->scheduler = &Scheduler::of_this_process();
  entry_->scheduler->add(*entry_);
}

Background::Task::~Task() {
  entry_->scheduler->remove(*entry_);
}

Background::Pause::Pause(std::chrono::milliseconds patience) : lock_(Scheduler::of_this_process().pause(patience)) {}

void Background::Task::run_by(Clock::time_point when) {
  entry_->scheduler->run_by(*entry_, when);
}

}  // namespace oncelog::internal
