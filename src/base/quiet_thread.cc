#include "base/quiet_thread.h"

#include <fmt/format.h>
#include <signal.h>

#include <system_error>

#include <oncelog/error.h>

namespace oncelog::internal {

std::thread start_quiet_thread(const char* work, std::function<void()> run) {
  struct AllBlocked {
    AllBlocked() {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    AllBlocked(const AllBlocked&) = delete;
    AllBlocked& operator=(const AllBlocked&) = delete;
    ~AllBlocked() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
    sigset_t before;
  };
  const AllBlocked all_blocked;  // The new thread inherits it.
  try {
    return std::thread(std::move(run));
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::io, fmt::format("cannot start a thread for {} ({}); raise the limit on threads or end some",
                                           work, error.code().message()));
  }
}

}  // namespace oncelog::internal
