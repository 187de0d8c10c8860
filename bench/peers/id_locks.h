#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string_view>

namespace oncelog::bench {

/// Makes "look, then write" atomic over the threads of a process, for a peer that has no such call: an id belongs to
/// one of 64 mutexes. A batch takes all of them, always in the same order.
class IdLocks {
 public:
  std::unique_lock<std::mutex> of(std::string_view id) {
    return std::unique_lock(mutexes_[std::hash<std::string_view>()(id) % kMutexes]);
  }
  void lock() {
    for (std::mutex& mutex : mutexes_) mutex.lock();
  }
  void unlock() {
    for (std::mutex& mutex : mutexes_) mutex.unlock();
  }

 private:
  static constexpr std::size_t kMutexes = 64;

  std::array<std::mutex, kMutexes> mutexes_;
};

}  // namespace oncelog::bench
