#include "support.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>

#include "background/background.h"

namespace oncelog::testing {

TempDir::TempDir(const std::filesystem::path& parent) {
  const auto base = parent.empty() ? std::filesystem::temp_directory_path() : parent;
  std::string pattern = (base / "oncelog-test-XXXXXX").string();
  REQUIRE(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code failed;
  std::filesystem::remove_all(path_, failed);
  if (failed) std::fprintf(stderr, "cannot remove %s: %s\n", path_.c_str(), failed.message().c_str());
}

internal::Uuid FakeHost::boot_id() const {
  internal::Uuid id{};
  id.fill(boot_.load(std::memory_order_relaxed));
  return id;
}

void FakeHost::advance(std::chrono::microseconds by) {
  wall_us_.fetch_add(by.count(), std::memory_order_relaxed);
  boot_us_.fetch_add(by.count(), std::memory_order_relaxed);
}

void FakeHost::step_wall(std::chrono::microseconds by) {
  wall_us_.fetch_add(by.count(), std::memory_order_relaxed);
}

void FakeHost::reboot() {
  boot_.fetch_add(1, std::memory_order_relaxed);
  boot_us_.store(1'000'000, std::memory_order_relaxed);
}

namespace {

/// A sanitizer's allocator is locked for ever in the child when another thread is in it at that moment.
pid_t quiet_fork() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const internal::Background::Pause quiet(std::chrono::seconds{1});
#endif
  return ::fork();
}

}  // namespace

pid_t spawn(const std::function<int()>& body) {
  std::fflush(nullptr);
  const pid_t child = quiet_fork();
  REQUIRE(child >= 0);
  if (child != 0) return child;
  int code = 99;
  try {
    code = body();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "child %d: %s\n", ::getpid(), error.what());
  }
  std::fflush(nullptr);
  ::_exit(code);
}

int wait_for(pid_t child) {
  int status = 0;
  pid_t waited = 0;
  do {
    waited = ::waitpid(child, &status, 0);
  } while (waited < 0 && errno == EINTR);
  REQUIRE(waited == child);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

ErrorCode error_code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  FAIL("no Error was thrown");
  return {};
}

std::string error_text_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  FAIL("no Error was thrown");
  return {};
}

ErrorCode error_code_naming(const std::string& named, const std::function<void()>& call) {
  const std::string sentence = error_text_of(call);
  CAPTURE(sentence);
  CHECK(sentence.find(named) != std::string::npos);
  CHECK(sentence.find(' ') != std::string::npos);
  return error_code_of(call);
}

namespace {

bool scale_is(std::string_view name) {
  const char* scale = std::getenv("ONCELOG_TEST_SCALE");
  return scale != nullptr && scale == name;
}

}  // namespace

std::uint64_t scaled(std::uint64_t full, std::uint64_t small) {
  return scale_is("small") ? small : full;
}

bool long_mode() {
  return scale_is("long");
}

std::filesystem::path memory_directory() {
  std::error_code none;
  return std::filesystem::is_directory("/dev/shm", none) ? "/dev/shm" : "";
}

std::uint64_t test_seed() {
  if (const char* seed = std::getenv("ONCELOG_TEST_SEED")) return std::strtoull(seed, nullptr, 10);
  return std::random_device{}();
}

}  // namespace oncelog::testing
