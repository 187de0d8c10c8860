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

void catch_unless_ignored(int signal) {
  struct sigaction current = {};
  ::sigaction(signal, nullptr, &current);
  if (current.sa_handler == SIG_IGN) return;

  struct sigaction action = {};
  action.sa_handler = note_signal;
  ::sigemptyset(&action.sa_mask);
  // SA_RESTART: the handler may run on the store's own thread, whose system calls are none of its business.
  action.sa_flags = static_cast<int>(static_cast<unsigned>(SA_RESTART) | static_cast<unsigned>(SA_RESETHAND));
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

StopSignal::StopSignal() {
  const int descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) throw Error(ErrorCode::io, std::string("cannot prepare for signals: ") + std::strerror(errno));
  wake_descriptor.store(descriptor, std::memory_order_relaxed);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) catch_unless_ignored(signal);
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
