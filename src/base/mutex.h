#pragma once

#include <mutex>

#include "base/thread_annotations.h"

namespace oncelog::internal {

/// A std::mutex that clang's analysis knows; the standard library's own has no annotations.
class CAPABILITY("mutex") Mutex {
 public:
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

}  // namespace oncelog::internal
