#pragma once

#include <sched.h>
#include <sys/mman.h>

#include <chrono>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace oncelog::testing {

/// An object in anonymous memory that children made by fork() share with their parent. Zeros before its constructor
/// runs; pages that nobody touches cost nothing.
template <typename T>
class Shared {
 public:
  template <typename... Args>
  explicit Shared(Args&&... args) {
    void* at = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    object_ = new (at) T(std::forward<Args>(args)...);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() {
    object_->~T();
    ::munmap(static_cast<void*>(object_), sizeof(T));
  }

  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }

 private:
  T* object_;
};

/// A check inside a child process, where doctest's own would be lost: throws, so that the child's exit code is not 0.
inline void expect(bool condition, const std::string& sentence) {
  if (!condition) throw std::runtime_error("expected: " + sentence);
}

/// Gives the processor away until `condition()` holds; false when it still does not after two minutes.
template <typename Condition>
bool holds_soon(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes{2};
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    ::sched_yield();
  }
  return true;
}

/// Whether a thread, of any process of the test, is asleep in that system call (SYS_...).
inline bool is_in_call(pid_t thread, long call) {
  std::ifstream state("/proc/" + std::to_string(thread) + "/syscall");
  long current = -1;
  return state >> current && current == call;
}

}  // namespace oncelog::testing
