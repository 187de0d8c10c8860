#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>

#include "remote/backend.h"

namespace oncelog::internal::remote {

/// The attempts whose answer was lost, and with which the caller may ask again: the server may have done what was
/// asked. Each is kept for as long as a caller goes on to ask, so there are no more of them than threads ask in that
/// time while the server does not answer. Thread-safe; reading costs nothing while there are none.
class LostAttempts {
 public:
  using Clock = std::chrono::steady_clock;

  explicit LostAttempts(std::chrono::milliseconds kept) : kept_(kept) {}

  void add(const Attempt& attempt) {
    const std::lock_guard guard(mutex_);
    const Clock::time_point now = Clock::now();
    std::erase_if(until_, [&](const auto& lost) { return lost.second < now; });
    until_[attempt] = now + kept_;
    any_.store(true, std::memory_order_relaxed);
  }

  bool any() const {
    return any_.load(std::memory_order_relaxed);  // Relaxed: a thread that asks again has added the attempt itself.
  }

  bool contains(const Attempt& attempt) const {
    const std::lock_guard guard(mutex_);
    return until_.contains(attempt);
  }

  /// The attempt has its answer.
  void remove(const Attempt& attempt) {
    const std::lock_guard guard(mutex_);
    until_.erase(attempt);
    any_.store(!until_.empty(), std::memory_order_relaxed);
  }

 private:
  const std::chrono::milliseconds kept_;
  mutable std::mutex mutex_;
  std::map<Attempt, Clock::time_point> until_;
  std::atomic<bool> any_{false};
};

}  // namespace oncelog::internal::remote
