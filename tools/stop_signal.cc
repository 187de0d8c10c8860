#include "stop_signal.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

#include <oncelog/error.h>

namespace oncelog::tool {
namespace {

std::atomic<int> received_signal{0};
std::atomic<int> wake_descriptor{-1};
static_assert(std::atomic<int>::is_always_lock_free, "the handler may only touch lock-free atomics");

extern "C" void note_signal(int signal) {
  const int saved_errno = errno;
  int none = 0;
  received_signal.compare_exchange_strong(none, signal, std::memory_order_relaxed);
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_descriptor.load(std::memory_order_relaxed), &one, sizeof one);
  errno = saved_errno;
}

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

/// What the signal does now: SIG_DFL, SIG_IGN or note_signal.
auto effect_of(int signal) {
  struct sigaction current = {};
  ::sigaction(signal, nullptr, &current);
  return current.sa_handler;
}

void catch_once(int signal) {
  struct sigaction action = {};
  action.sa_handler = note_signal;
  ::sigemptyset(&action.sa_mask);
  // SA_RESTART: the handler may run on the store's own thread, whose system calls are none of its business.
  action.sa_flags = static_cast<int>(static_cast<unsigned>(SA_RESTART) | static_cast<unsigned>(SA_RESETHAND));
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  ::sigemptyset(&released_);
  const int descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) throw Error(ErrorCode::io, std::string("cannot prepare for signals: ") + std::strerror(errno));
  wake_descriptor.store(descriptor, std::memory_order_relaxed);
  for (const int signal : kSignals) {
    if (effect_of(signal) != SIG_IGN) catch_once(signal);
  }
}

void StopSignal::end_at_once() noexcept {
  for (const int signal : kSignals) {
    if (effect_of(signal) != note_signal) continue;  // Ignored, or received before.
    std::signal(signal, SIG_DFL);
    ::sigaddset(&released_, signal);
  }
}

void StopSignal::end_in_order() noexcept {
  for (const int signal : kSignals) {
    if (::sigismember(&released_, signal) == 1) catch_once(signal);
  }
  ::sigemptyset(&released_);
}

int StopSignal::descriptor() const noexcept {
  return wake_descriptor.load(std::memory_order_relaxed);
}

int StopSignal::received() noexcept {
  return received_signal.load(std::memory_order_relaxed);
}

int end_by_signal(int signal) {
  std::signal(signal, SIG_DFL);
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, signal);
  ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
  std::raise(signal);
  return 128 + signal;
}

}  // namespace oncelog::tool
