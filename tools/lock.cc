#include "lock.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>

#include <fmt/format.h>

#include <oncelog/claim.h>
#include <oncelog/error.h>

#include "child.h"
#include "printable.h"
#include "stop_signal.h"
#include "timestamp.h"

namespace oncelog::tool {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

/// How long a signal may go unnoticed while the lock is waited for.
constexpr milliseconds kPatience{100};

/// Passes on signals and renews the lock until the command has ended. Returns the exit code.
int watch(pid_t child, Lock& lock, const LockOptions& options, const Signals& signals) {
  const milliseconds renew_every = std::max(options.lease / 3, milliseconds{1});
  Clock::time_point renew_at = Clock::now() + renew_every;
  bool held = true;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(renew_at - Clock::now());
    const siginfo_t info = signals.next(std::clamp(left, milliseconds{0}, renew_every));
    if (info.si_signo == SIGCHLD) {
      const auto code = exit_code_of(child);
      if (!code) continue;
      return held ? *code : kNotGot;
    }
    pass_on(info, child);
    if (Clock::now() < renew_at) continue;
    renew_at = Clock::now() + renew_every;
    if (held && !lock.renew(options.lease)) {
      held = false;
      fmt::print(stderr, "oncelog: another process has taken the lock '{}' meanwhile; ending the command\n",
                 printable(options.name));
      ::kill(child, SIGTERM);
    }
  }
}

}  // namespace

int run_lock(const LockOptions& options) {
  const Store store = open_as_this_user(options.store);
  const Signals signals;
  const Clock::time_point limit = Clock::now() + std::min<std::chrono::milliseconds>(options.wait, kForEver);
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(limit - Clock::now());
    Lock lock = store.lock(options.name, options.lease, std::clamp(left, milliseconds{0}, kPatience));
    if (const siginfo_t info = signals.next(milliseconds{0}); info.si_signo != 0 && info.si_signo != SIGCHLD) {
      lock.release();
      return end_by_signal(info.si_signo);
    }
    if (lock) {
      ::setenv("ONCELOG_TOKEN", std::to_string(lock.token()).c_str(), 1);
      return watch(start_child(options.command, signals), lock, options, signals);
    }
    if (Clock::now() >= limit) {
      fmt::print(stderr, "oncelog: process {} holds the lock '{}', until {} unless it renews it\n",
                 lock.owner()->process, printable(options.name), format_time(lock.owner()->deadline));
      return kNotGot;
    }
  }
}

}  // namespace oncelog::tool
