#pragma once

#include <algorithm>
#include <chrono>

namespace oncelog::internal::remote {

/// Until when the call that this thread is making may wait, for as long as the object lives. Whatever waits on its
/// behalf, for a connection, an answer or a disk, ends by then: a call that is asked again after a loss takes no longer
/// than one that is not. A limit within another one is never later than that.
class CallLimit {
 public:
  using Time = std::chrono::steady_clock::time_point;

  explicit CallLimit(Time until)
      : until_(innermost_ == nullptr ? until : std::min(until, innermost_->until_)), outer_(innermost_) {
    innermost_ = this;
  }
  CallLimit(const CallLimit&) = delete;
  CallLimit& operator=(const CallLimit&) = delete;
  ~CallLimit() { innermost_ = outer_; }

  Time until() const { return until_; }

  /// The thread's limit; where it has none, `timeout` from now.
  static Time or_within(std::chrono::milliseconds timeout) {
    return innermost_ != nullptr ? innermost_->until_ : std::chrono::steady_clock::now() + timeout;
  }

 private:
  inline static thread_local constinit const CallLimit* innermost_ = nullptr;

  const Time until_;
  const CallLimit* const outer_;
};

}  // namespace oncelog::internal::remote
