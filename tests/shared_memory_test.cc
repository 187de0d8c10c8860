#include "base/shared_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// A value in memory that a child process shares.
template <typename T>
class Shared {
 public:
  Shared()
      : at_(static_cast<T*>(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    REQUIRE(at_ != MAP_FAILED);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(at_, sizeof(T)); }
  T& operator*() const { return *at_; }
  T* operator->() const { return at_; }

 private:
  T* at_;
};

}  // namespace

TEST_CASE("a new mapped file is zeros, all of them allocated, and what is stored in it is shared") {
  const TempDir dir;
  constexpr std::size_t kSize = 100'000;
  const MappedFile file = MappedFile::create(dir / "file", kSize);
  CHECK(file.size() == kSize);
  for (std::size_t i = 0; i < kSize; ++i) REQUIRE(file.data()[i] == std::byte{0});
  file.data()[kSize - 1] = std::byte{7};
  const auto again = MappedFile::open(dir / "file", kSize);
  REQUIRE(again);
  CHECK(again->size() == kSize);
  CHECK(again->data()[kSize - 1] == std::byte{7});
}

TEST_CASE("a mutex that damage has closed for good is one again when its only process mends it") {
  const Shared<RobustMutex> mutex;
  mutex->initialise();
  CHECK_FALSE(mutex->mend());
  const auto damage = [&](std::size_t at, std::byte with) { reinterpret_cast<std::byte*>(&*mutex)[at] = with; };

  SUBCASE("locked by nobody") {
    damage(1, std::byte{0x12});
  }
  SUBCASE("with waiters, but without an owner") {
    damage(3, std::byte{0x80});
  }
  SUBCASE("of an owner who could not be followed") {
    for (std::size_t at = offsetof(pthread_mutex_t, __data.__owner); const unsigned byte : {0xFEU, 0xFFU, 0xFFU, 0x7FU})
      damage(at++, static_cast<std::byte>(byte));
  }
  SUBCASE("of another kind") {
    damage(offsetof(pthread_mutex_t, __data.__kind), std::byte{0x03});
  }
  CHECK(mutex->mend());
  CHECK_FALSE(mutex->mend());
  const LockLimit limit(10s);
  CHECK_FALSE(mutex->lock());
  mutex->unlock();
}

TEST_CASE("a mutex whose owner died is left to the next one who locks it") {
  const Shared<RobustMutex> mutex;
  mutex->initialise();
  CHECK(wait_for(spawn([&] {
          mutex->lock();
          return 0;
        })) == 0);
  CHECK_FALSE(mutex->mend());
  CHECK(mutex->lock());
  mutex->unlock();
}

TEST_CASE("a file made in place of another leaves the other mapped as it was") {
  const TempDir dir;
  const MappedFile old = MappedFile::create(dir / "file", 4096);
  old.data()[0] = std::byte{1};
  const MappedFile fresh = MappedFile::create(dir / "file", 8192);
  CHECK(old.data()[0] == std::byte{1});
  CHECK(fresh.data()[0] == std::byte{0});
  fresh.data()[0] = std::byte{2};
  CHECK(old.data()[0] == std::byte{1});
}

TEST_CASE("what is missing, too small or no regular file is not mapped") {
  const TempDir dir;
  CHECK_FALSE(MappedFile::open(dir / "missing", 1));
  std::ofstream(dir / "empty").flush();
  CHECK_FALSE(MappedFile::open(dir / "empty", 0));
  std::ofstream(dir / "small") << "12345";
  CHECK_FALSE(MappedFile::open(dir / "small", 6));
  CHECK(MappedFile::open(dir / "small", 5));
}

TEST_CASE("a symbolic link is not followed") {
  const TempDir dir;
  std::ofstream(dir / "target") << "12345";
  std::filesystem::create_symlink(dir / "target", dir / "link");
  CHECK(error_code_of([&] { MappedFile::open(dir / "link", 1); }) == ErrorCode::io);
  const MappedFile file = MappedFile::create(dir / "link", 10);  // Replaces the link, not its target.
  CHECK(std::filesystem::file_size(dir / "target") == 5);
}

TEST_CASE("a file that the disk has no room for is an error at its creation, and leaves nothing behind") {
  const TempDir dir;
  CHECK(error_code_of([&] { MappedFile::create(dir / "file", std::size_t{1} << 60); }) == ErrorCode::full);
  CHECK_FALSE(std::filesystem::exists(dir / "file"));
}

TEST_CASE("system errors become the codes that callers act on, with the path and the reason") {
  CHECK(system_error(ENOSPC, "x", "/p").code() == ErrorCode::full);
  CHECK(system_error(EDQUOT, "x", "/p").code() == ErrorCode::full);
  CHECK(system_error(EFBIG, "x", "/p").code() == ErrorCode::full);
  CHECK(system_error(EACCES, "x", "/p").code() == ErrorCode::no_permission);
  CHECK(system_error(EPERM, "x", "/p").code() == ErrorCode::no_permission);
  CHECK(system_error(EROFS, "x", "/p").code() == ErrorCode::no_permission);
  CHECK(system_error(EIO, "x", "/p").code() == ErrorCode::io);
  const Error error = system_error(EIO, "fsync", "/some/path");
  CHECK(error.path() == "/some/path");
  CHECK(std::string(error.what()).find("/some/path") != std::string::npos);
  CHECK(std::string(error.what()).find("fsync") != std::string::npos);
}

TEST_CASE("one thread at a time holds the mutex") {
  const Shared<RobustMutex> mutex;
  mutex->initialise();
  const std::uint64_t rounds = scaled(50'000, 5'000);
  std::uint64_t count = 0;  // No atomic: the mutex orders it.
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t i = 0; i < rounds; ++i) {
        mutex->lock();
        ++count;
        mutex->unlock();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(count == 4 * rounds);
}

TEST_CASE("the next one to lock learns of an owner that died, once") {
  const Shared<RobustMutex> mutex;
  mutex->initialise();
  CHECK_FALSE(mutex->lock());
  mutex->unlock();
  const pid_t child = spawn([&] {
    mutex->lock();
    return 0;  // Dies with it.
  });
  REQUIRE(wait_for(child) == 0);
  CHECK(mutex->lock());
  mutex->unlock();
  CHECK_FALSE(mutex->lock());
  mutex->unlock();
}

TEST_CASE("memory that is no mutex any more is damage") {
  const Shared<RobustMutex> mutex;
  std::fill_n(reinterpret_cast<unsigned char*>(&*mutex), sizeof(RobustMutex), static_cast<unsigned char>(0xFF));
  CHECK(error_code_of([&] { mutex->lock(); }) == ErrorCode::corrupt);
}

TEST_CASE("who waits on a word wakes when it has moved and is rung, and does not sleep when it has moved before") {
  const Shared<std::atomic<std::uint32_t>> word;
  word->store(1);
  futex_wait(*word, 0, 1h);
  futex_wait(*word, 1, 0us);
  std::atomic<bool> woken{false};
  std::thread waiter([&] {
    while (word->load(std::memory_order_acquire) == 1) futex_wait(*word, 1, 1h);
    woken.store(true);
  });
  word->store(2, std::memory_order_release);
  wait_until([&] {
    futex_wake_all(*word);
    return woken.load();
  });
  waiter.join();
  CHECK(woken.load());
}
