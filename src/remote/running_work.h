#pragma once

namespace oncelog::internal {
class Engine;
}

namespace oncelog::internal::remote {

/// That this thread is within a transaction of an engine, for as long as it lives. Several engines' may be nested.
class RunningWork {
 public:
  explicit RunningWork(const Engine& engine) : engine_(engine), outer_(innermost_) { innermost_ = this; }
  RunningWork(const RunningWork&) = delete;
  RunningWork& operator=(const RunningWork&) = delete;
  ~RunningWork() { innermost_ = outer_; }

  static bool is_of(const Engine& engine) {
    for (const RunningWork* one = innermost_; one != nullptr; one = one->outer_) {
      if (&one->engine_ == &engine) return true;
    }
    return false;
  }

 private:
  inline static thread_local constinit const RunningWork* innermost_ = nullptr;

  const Engine& engine_;
  const RunningWork* const outer_;
};

}  // namespace oncelog::internal::remote
