#include "engine/registry.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/fork_generation.h"
#include "engine/local_engine.h"
#include "shared.h"
#include "shared/open_lock.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

TEST_CASE("one engine serves a directory by all of its names, for as long as anyone holds it") {
  const TempDir dir;
  const Host& host = Host::system();
  std::weak_ptr<LocalEngine> gone;
  {
    const auto engine = open_engine(dir / "store", {}, host);
    std::filesystem::create_directory_symlink("store", dir / "link");
    CHECK(open_engine(dir / "store", {}, host) == engine);
    CHECK(open_engine(dir / "link", {}, host) == engine);
    CHECK(open_engine(dir / "other", {}, host) != engine);
    gone = engine;
  }
  CHECK(gone.expired());
  CHECK(open_engine(dir / "store", {.create = false}, host) != nullptr);
}

TEST_CASE("threads that open and close one directory at the same time never have two engines of it") {
  const TempDir dir;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        const auto engine = open_engine(dir / "store", {}, Host::system());
        if (open_engine(dir / "store", {}, Host::system()) != engine) wrong.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
}

TEST_CASE("the fork generation moves in a child and not in its parent") {
  const TempDir dir;
  const auto engine = open_engine(dir / "store", {}, Host::system());
  const std::uint64_t before = fork_generation();
  CHECK(wait_for(spawn([&] { return fork_generation() != before && engine->store().forked() ? 0 : 1; })) == 0);
  CHECK(fork_generation() == before);
  CHECK_FALSE(engine->store().forked());
}

TEST_CASE(
    "a child that was forked while a store was open does not keep others from opening it after its parent closed") {
  const TempDir dir;
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  pid_t sleeper = 0;
  {
    const Store store = Store::open(dir / "store");
    sleeper = spawn([&]() -> int {
      char byte = 0;
      ::close(pipe_ends[1]);
      return ::read(pipe_ends[0], &byte, 1) == 0 ? 0 : 1;  // Until the parent says so.
    });
  }
  const pid_t opener = spawn([&]() -> int {
    ::alarm(60);  // Ends the child should it wait for a lock that the sleeper holds.
    ::close(pipe_ends[1]);
    return Store::open(dir / "store").scope("s").mark("a") == Verdict::fresh ? 0 : 1;
  });
  CHECK(wait_for(opener) == 0);
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
  CHECK(wait_for(sleeper) == 0);
}

TEST_CASE("while one directory is slow to open, others open, the process forks, and the child opens what it likes" *
          doctest::skip(kThreadSanitizer)) {
  const TempDir dir;
  { const Store store = Store::open(dir / "slow"); }
  // Another process is in the middle of opening it.
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  const Shared<std::atomic<bool>> locked;
  const pid_t opening = spawn([&]() -> int {
    ::close(pipe_ends[1]);
    OpenLock lock(dir / "slow");
    if (!lock.acquire()) return 1;
    locked->store(true);
    char byte = 0;
    return ::read(pipe_ends[0], &byte, 1) == 0 ? 0 : 1;  // Until the test closes the pipe.
  });
  wait_until([&] { return locked->load(); });
  std::atomic<pid_t> thread{0};
  std::atomic<bool> opened{false};
  std::thread slow([&] {
    thread.store(::gettid());
    const Store store = Store::open(dir / "slow");
    opened.store(true);
  });
  wait_until([&] { return is_in_call(thread.load(), SYS_fcntl); });  // For the lock.
  CHECK(Store::open(dir / "other").scope("s").mark("a") == Verdict::fresh);
  const pid_t child = spawn([&]() -> int {
    ::alarm(60);  // Ends it should it wait for what its parent's thread does.
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    return Store::open(dir / "other").scope("s").mark("a") == Verdict::duplicate ? 0 : 1;
  });
  CHECK(wait_for(child) == 0);
  CHECK_FALSE(opened.load());
  const pid_t patient = spawn([&]() -> int {
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    ::alarm(60);
    return Store::open(dir / "slow").scope("s").contains("a") ? 1 : 0;  // Waits for the opener, not for the thread.
  });
  ::close(pipe_ends[0]);
  ::close(pipe_ends[1]);
  CHECK(wait_for(opening) == 0);
  slow.join();
  CHECK(opened.load());
  CHECK(wait_for(patient) == 0);
}

TEST_CASE("an open that fails leaves its directory to the next one") {
  const TempDir dir;
  for (int i = 0; i < 3; ++i) {
    CHECK(error_code_of([&] { Store::open(dir / "store", {.create = false}); }) == ErrorCode::not_found);
    std::filesystem::create_directory(dir / "store");
  }
  CHECK(Store::open(dir / "store").scope("s").mark("a") == Verdict::fresh);
}

TEST_CASE("opening with contradicting options while the last handle goes elsewhere is an error and not a deadlock") {
  const TempDir dir;
  Store::open(dir / "store", {.retention = std::chrono::hours{1}});
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done.load()) Store::open(dir / "store", {.retention = std::chrono::hours{1}});
  });
  for (int i = 0; i < 100; ++i) {
    CHECK(error_code_of([&] { Store::open(dir / "store", {.retention = std::chrono::hours{2}}); }) ==
          ErrorCode::options_mismatch);
  }
  done.store(true);
  other.join();
}
