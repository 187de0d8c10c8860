#pragma once

#include <doctest/doctest.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <oncelog/oncelog.h>

#include "api/store_access.h"
#include "base/host.h"

namespace oncelog::testing {

/// For tests whose forked children start threads while the parent had some: ThreadSanitizer takes a thread's number
/// that comes again there for a fault, and ends the child.
#ifdef __SANITIZE_THREAD__
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

/// A moment that the compiler may not remove, for loops that wait a little.
inline void spin() {
  asm volatile("" ::: "memory");
}

/// A directory of its own that goes with the object.
class TempDir {
 public:
  /// Under $TMPDIR or /tmp, or under `parent`.
  explicit TempDir(const std::filesystem::path& parent = {});
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Ids, and the views over them that a batch takes: a range of views. The ids stay where they are until it is
/// destroyed.
class Ids {
 public:
  explicit Ids(std::vector<std::string> texts) : texts_(std::move(texts)), views_(texts_.begin(), texts_.end()) {}

  /// What `id_of` returns for each place from 0 to `count` - 1.
  template <typename IdOf>
  Ids(std::size_t count, IdOf id_of) : Ids(made(count, id_of)) {}

  Ids(Ids&&) = default;  // The strings stay in their place.
  Ids& operator=(Ids&&) = default;

  const std::string_view* data() const { return views_.data(); }
  std::size_t size() const { return views_.size(); }
  const std::string_view* begin() const { return data(); }
  const std::string_view* end() const { return data() + size(); }
  const std::string& operator[](std::size_t i) const { return texts_[i]; }

 private:
  template <typename IdOf>
  static std::vector<std::string> made(std::size_t count, IdOf id_of) {
    std::vector<std::string> texts;
    texts.reserve(count);
    for (std::size_t i = 0; i < count; ++i) texts.push_back(id_of(i));
    return texts;
  }

  std::vector<std::string> texts_;
  std::vector<std::string_view> views_;
};

/// A machine whose clocks move only when told to, and that boots when told to. Thread-safe.
class FakeHost final : public internal::Host {
 public:
  static constexpr std::int64_t kStartUs = 1'800'000'000'000'000;  // In January 2027.

  internal::Uuid boot_id() const override;
  std::int64_t wall_us() const override { return wall_us_.load(std::memory_order_relaxed); }
  std::int64_t boot_us() const override { return boot_us_.load(std::memory_order_relaxed); }
  unsigned processors() const override { return processors_.load(std::memory_order_relaxed); }

  void set_processors(unsigned processors) { processors_.store(processors, std::memory_order_relaxed); }
  /// Time passes.
  void advance(std::chrono::microseconds by);
  /// Somebody sets the wall clock, forward or back.
  void step_wall(std::chrono::microseconds by);
  /// Another boot: the boot clock begins anew. Only while no store is open on this host.
  void reboot();

 private:
  std::atomic<std::int64_t> wall_us_{kStartUs};
  std::atomic<std::int64_t> boot_us_{1'000'000'000};
  std::atomic<std::uint8_t> boot_{1};
  std::atomic<unsigned> processors_{2};
};

/// Runs `body` in a child process, whose exit code is the body's answer; a failed assertion or exception is 99.
pid_t spawn(const std::function<int()>& body);
/// Waits for a child: its exit code, or minus the signal that ended it.
int wait_for(pid_t child);

/// The code of the Error that `call` throws; fails the test when it throws none.
ErrorCode error_code_of(const std::function<void()>& call);
/// Its sentence.
std::string error_text_of(const std::function<void()>& call);
/// Its code, after a look at its sentence, which names `named`.
ErrorCode error_code_naming(const std::string& named, const std::function<void()>& call);

/// Waits until `condition()` holds; the test's time limit ends a wait for what never comes.
template <typename Condition>
void wait_until(Condition condition) {
  while (!condition()) std::this_thread::yield();
}

/// Sizes of long tests: `full`, or `small` when ONCELOG_TEST_SCALE=small (as under sanitizers).
std::uint64_t scaled(std::uint64_t full, std::uint64_t small);

/// Whether ONCELOG_TEST_SCALE=long asks for the full size, which takes hours; see README.md.
bool long_mode();

/// For the files of tests that sync thousands of times: in memory where there is a place for them, so that no disk
/// does; empty otherwise, as TempDir takes it.
std::filesystem::path memory_directory();

/// A seed for randomised tests: ONCELOG_TEST_SEED, or a random one. Print it on failure (doctest's CAPTURE).
std::uint64_t test_seed();

}  // namespace oncelog::testing
