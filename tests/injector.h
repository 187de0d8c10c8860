#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>

#include "intercept.h"
#include "support.h"

namespace oncelog::testing {

inline constexpr std::chrono::seconds kPatience{3};  // For a store to go on when the fault is gone.

/// What a machine may be short of: which calls fail, and with what.
enum class Lack { space, device, permission, descriptors, memory };

inline std::string to_string(Lack lack) {
  constexpr const char* kNames[] = {"space", "device", "permission", "descriptors", "memory"};
  return kNames[static_cast<int>(lack)];
}

/// 0 for a call that this lack does not concern.
inline int error_of(Lack lack, const Intercepted& call) {
  const auto writes = [&] {
    switch (call.call) {
      case SystemCall::pwrite:
      case SystemCall::write:
      case SystemCall::ftruncate:
      case SystemCall::fallocate:
        return true;
      default:
        return false;
    }
  };
  const auto names = [&] {
    return call.call == SystemCall::unlink || call.call == SystemCall::rename || call.call == SystemCall::link;
  };
  switch (lack) {
    case Lack::space:
      return writes() || (names() && call.call != SystemCall::unlink) || call.creates ? ENOSPC : 0;
    case Lack::device:
      return writes() || names() || call.call == SystemCall::fdatasync || call.call == SystemCall::fsync ||
                     call.call == SystemCall::msync
                 ? EIO
                 : 0;
    case Lack::permission:
      return names() || call.call == SystemCall::open ? EACCES : 0;
    case Lack::descriptors:
      return call.call == SystemCall::open ? EMFILE : 0;
    case Lack::memory:
      if (call.call == SystemCall::pthread_create) return EAGAIN;
      return call.call == SystemCall::mmap ? ENOMEM : 0;
  }
  return 0;
}

inline bool fits(Lack lack, ErrorCode code) {
  switch (lack) {
    case Lack::space:
      return code == ErrorCode::full;
    case Lack::permission:
      return code == ErrorCode::no_permission || code == ErrorCode::io;
    case Lack::memory:
      return code == ErrorCode::io || code == ErrorCode::unsupported;  // The latter of address space.
    default:
      return code == ErrorCode::io;
  }
}

class Injector final : public Interceptor {
 public:
  Injector(Lack lack, unsigned nth, bool always) : lack_(lack), nth_(nth), always_(always) {}

  int before(const Intercepted& call) override {
    // Relaxed: the threads that fail need only agree on the count.
    if (!armed_.load(std::memory_order_relaxed)) return 0;
    const int error_number = error_of(lack_, call);
    if (error_number == 0) return 0;
    const unsigned count = count_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (count < nth_ || (count > nth_ && !always_)) return 0;
    failed_.store(static_cast<int>(call.call), std::memory_order_relaxed);
    return error_number;
  }

  void arm(bool armed) { armed_.store(armed, std::memory_order_relaxed); }
  bool fired() const { return failed_.load(std::memory_order_relaxed) >= 0; }
  Lack lack() const { return lack_; }

 private:
  const Lack lack_;
  const unsigned nth_;
  const bool always_;
  std::atomic<bool> armed_{false};
  std::atomic<unsigned> count_{0};
  std::atomic<int> failed_{-1};
};

}  // namespace oncelog::testing
