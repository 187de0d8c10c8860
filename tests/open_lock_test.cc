#include "open_lock.h"

#include <thread>

#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

TEST_CASE("the first user of a store is alone, later ones are not, and the next one is when all have gone") {
  const TempDir dir;
  {
    OpenLock first(dir.path());
    CHECK(first.join());
    first.unlock();
    OpenLock second(dir.path());
    CHECK_FALSE(second.join());
    second.unlock();
  }
  OpenLock third(dir.path());
  CHECK(third.join());
}

TEST_CASE("opening is one at a time") {
  const TempDir dir;
  std::atomic<int> inside{0};
  std::atomic<int> crowded{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        OpenLock lock(dir.path());
        if (inside.fetch_add(1) != 0) crowded.fetch_add(1);
        inside.fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(crowded.load() == 0);
}

TEST_CASE("a process that dies lets go of its locks") {
  const TempDir dir;
  const pid_t child = spawn([&] {
    auto* lock = new OpenLock(dir.path());  // Never destroyed.
    return lock->join() ? 0 : 1;
  });
  REQUIRE(wait_for(child) == 0);
  OpenLock lock(dir.path());
  CHECK(lock.join());
}

TEST_CASE("the live directory that was noted last is read back, shorter or longer") {
  const TempDir dir;
  OpenLock lock(dir.path());
  CHECK(lock.noted_live_dir().empty());
  for (const char* path : {"/dev/shm/some/long/path", "/short", "/dev/shm/longer/again"}) {
    lock.note_live_dir(path);
    CHECK(lock.noted_live_dir() == path);
  }
}

TEST_CASE("a lock file in a directory that is not there is an error with its path") {
  const TempDir dir;
  CHECK(error_code_of([&] { OpenLock(dir / "missing"); }) == ErrorCode::io);
}
