#include "background/background.h"

#include <pthread.h>

#include <atomic>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

using Clock = Background::Clock;
using Next = Background::Next;

Next never() {
  return Next::at(Clock::time_point::max());
}

std::size_t threads_of_this_process() {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator()));
}

}  // namespace

TEST_CASE("a task runs at once, then when it wants to, and not after it has ended") {
  std::atomic<int> runs{0};
  {
    Background::Task task([&] { return runs.fetch_add(1) < 4 ? Next::at(Clock::now() + 1ms) : never(); });
    wait_until([&] { return runs.load() == 5; });
    task.run_now();
    wait_until([&] { return runs.load() == 6; });
    task.run_by(Clock::now() + 1ms);
    wait_until([&] { return runs.load() == 7; });
  }
  CHECK(runs.load() == 7);
}

TEST_CASE("many idle tasks share a few threads, and none is left without tasks") {
  const std::size_t before = threads_of_this_process();
  constexpr std::size_t kTasks = 300;
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::vector<std::atomic<int>> runs(kTasks);
  {
    std::vector<std::unique_ptr<Background::Task>> tasks;
    for (std::size_t i = 0; i < kTasks; ++i) {
      tasks.push_back(std::make_unique<Background::Task>([&, i] {
        const auto now = Clock::now();
        if (runs[i].fetch_add(1) > 0) {  // Its first run is not brief: nobody has said so yet.
          const std::lock_guard guard(mutex);
          threads.insert(std::this_thread::get_id());
        }
        return Next{now + 5ms, now + 1ms, true};
      }));
      wait_until([&] { return runs[i].load() != 0; });  // As stores open: one after the other.
    }
    for (const auto& one : runs) wait_until([&] { return one.load() >= 10; });
    CHECK(threads_of_this_process() <= before + Background::kMaxThreads);
  }
  CHECK(threads.size() <= Background::kMaxThreads);
  CHECK(threads_of_this_process() == before);
}

TEST_CASE("a task that is asked for while it runs runs once more") {
  std::atomic<int> runs{0};
  std::atomic<bool> asked{false};
  Background::Task task([&] {
    if (runs.fetch_add(1) == 0) wait_until([&] { return asked.load(); });
    return never();
  });
  wait_until([&] { return runs.load() == 1; });
  task.run_now();
  asked.store(true);
  wait_until([&] { return runs.load() == 2; });
}

TEST_CASE("tasks that wait keep no other from running, and a task's end waits for its run") {
  std::atomic<bool> go_on{false};
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  const auto slow = [&] {
    begun.fetch_add(1);
    wait_until([&] { return go_on.load(); });
    ended.fetch_add(1);
    return never();
  };
  auto first = std::make_unique<Background::Task>(slow);
  wait_until([&] { return begun.load() == 1; });  // The second one comes while the only thread is kept by the first.
  auto second = std::make_unique<Background::Task>(slow);
  wait_until([&] { return begun.load() == 2; });
  std::atomic<int> runs{0};
  {
    Background::Task quick([&] {
      runs.fetch_add(1);
      return Next::at(Clock::now() + 1ms);
    });
    wait_until([&] { return runs.load() >= 20; });
  }
  const int last = runs.load();
  std::thread ending([&] { first.reset(); });
  CHECK(ended.load() == 0);
  go_on.store(true);
  ending.join();
  CHECK(ended.load() >= 1);
  second.reset();
  CHECK(ended.load() == 2);
  CHECK(runs.load() == last);
}

TEST_CASE("nothing runs while the background is paused, and all goes on afterwards") {
  std::atomic<int> runs{0};
  std::atomic<bool> running{false};
  Background::Task task([&] {
    running.store(true);
    runs.fetch_add(1);
    running.store(false);
    return Next::at(Clock::now());
  });
  for (int round = 0; round < 200; ++round) {
    const int before = runs.load();
    wait_until([&] { return runs.load() > before; });
    const Background::Pause pause(10s);
    REQUIRE_FALSE(running.load());
    const int seen = runs.load();
    std::this_thread::yield();
    REQUIRE(runs.load() == seen);
  }
}

TEST_CASE("a task that is registered while the last of the others ends has threads that go on") {
  // The old thread may still be on its way from the timer when the new one gets there.
  for (std::uint64_t round = 0; round < scaled(2000, 200); ++round) {
    std::atomic<int> old_runs{0};
    auto last = std::make_unique<Background::Task>([&] {
      old_runs.fetch_add(1);
      return never();
    });
    wait_until([&] { return old_runs.load() != 0; });
    std::atomic<bool> begin{false};
    std::atomic<int> runs{0};
    std::thread registering([&] {
      wait_until([&] { return begin.load(); });
      const Background::Task task([&] {
        runs.fetch_add(1);
        return Next::at(Clock::now() + 100us);
      });
      wait_until([&] { return runs.load() >= 3; });
    });
    for (int i = 0; i < 100'000; ++i) spin();  // The old thread gets to the timer meanwhile, mostly.
    begin.store(true);
    for (std::uint64_t i = 0; i < round % 200; ++i) spin();
    last.reset();
    registering.join();
    CHECK(runs.load() >= 3);
  }
}

TEST_CASE("a child of a fork has none of its parent's tasks and makes its own" * doctest::skip(kThreadSanitizer)) {
  std::atomic<int> runs{0};
  Background::Task task([&] {
    runs.fetch_add(1);
    return Next::at(Clock::now() + 1ms);
  });
  wait_until([&] { return runs.load() > 3; });
  CHECK(wait_for(spawn([&] {
          const int before = runs.load();
          std::atomic<int> own{0};
          {
            Background::Task childs([&] {
              own.fetch_add(1);
              return Next::at(Clock::now() + 1ms);
            });
            wait_until([&] { return own.load() > 10; });
          }
          return runs.load() == before ? 0 : 1;
        })) == 0);
  const int before = runs.load();
  wait_until([&] { return runs.load() > before; });
}

TEST_CASE("without a thread to be had a store does not open, says so, and is not left half open") {
  const TempDir dir;
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  pthread_attr_t as_before;
  REQUIRE(pthread_getattr_default_np(&as_before) == 0);
  // No thread's stack is that large.
  REQUIRE(pthread_attr_setstacksize(&attributes, std::size_t{1} << 50) == 0);
  REQUIRE(pthread_setattr_default_np(&attributes) == 0);
  Options hooked;
  hooked.on_event = [](const StoreEvent&) {};
  const std::string sentence = error_text_of([&] { Store::open(dir / "store"); });
  const ErrorCode code = error_code_of([&] { Store::open(dir / "store"); });
  const ErrorCode code_with_hook = error_code_of([&] { Store::open(dir / "store", hooked); });
  REQUIRE(pthread_setattr_default_np(&as_before) == 0);
  pthread_attr_destroy(&as_before);
  pthread_attr_destroy(&attributes);
  CHECK(code == ErrorCode::io);
  CHECK(code_with_hook == ErrorCode::io);
  CHECK(sentence.find("cannot start a thread") != std::string::npos);
  // Its options are those of nobody.
  const Store store = Store::open(dir / "store", {.max_bytes = std::uint64_t{1} << 20});
  CHECK(store.scope("s").mark("a") == Verdict::fresh);
}
