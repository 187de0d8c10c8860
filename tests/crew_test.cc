#include "base/crew.h"

#include <signal.h>

#include <atomic>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "background/pieces.h"
#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;

TEST_CASE("a crew is so many threads, the calling one among them, and all have ended when it is done") {
  for (const unsigned threads : {1U, 2U, 7U}) {
    std::mutex mutex;
    std::set<std::thread::id> ran;
    std::atomic<unsigned> begun{0};
    run_in_crew(threads, "the test", [&] {
      begun.fetch_add(1);
      wait_until([&] { return begun == threads; });  // So that all of them are at work at the same time.
      const std::lock_guard guard(mutex);
      ran.insert(std::this_thread::get_id());
    });
    CHECK(ran.size() == threads);
    CHECK(ran.contains(std::this_thread::get_id()));
  }
}

TEST_CASE("what one thread of a crew throws comes to the caller, after the others have done their work") {
  std::atomic<unsigned> begun{0};
  std::atomic<unsigned> ended{0};
  const auto work = [&] {
    const unsigned number = begun.fetch_add(1);
    wait_until([&] { return begun == 3; });
    if (number == 1) throw std::runtime_error("the second one");
    ended.fetch_add(1);
  };
  CHECK_THROWS_WITH_AS(run_in_crew(3, "the test", work), "the second one", std::runtime_error);
  CHECK(ended == 2);
}

TEST_CASE("the other threads of a crew get none of the application's signals") {
  const auto caller = std::this_thread::get_id();
  std::atomic<unsigned> begun{0};
  std::atomic<bool> blocked{false};
  run_in_crew(2, "the test", [&] {
    begun.fetch_add(1);
    wait_until([&] { return begun == 2; });
    if (std::this_thread::get_id() == caller) return;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGUSR1) == 1;
  });
  CHECK(blocked);
}

TEST_CASE("work in pieces does each unit once, whatever the number of threads") {
  for (const unsigned threads : {1U, 3U}) {
    for (const std::uint64_t total : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{999}, std::uint64_t{1000}}) {
      std::vector<std::atomic<int>> done(total);
      in_pieces(threads, "the test", total, 100, [&] {
        return [&](std::uint64_t first, std::uint64_t count) {
          CHECK(count <= 100);
          for (std::uint64_t unit = first; unit < first + count; ++unit) done[unit].fetch_add(1);
        };
      });
      for (const auto& times : done) REQUIRE(times == 1);
    }
  }
}
