#include "lock.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include <oncelog/claim.h>
#include <oncelog/error.h>

#include "printable.h"
#include "stop_signal.h"
#include "timestamp.h"

namespace oncelog::tool {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr int kNotGot = 75;  // EX_TEMPFAIL: try again later.
constexpr int kCannotRun = 126;
constexpr int kNoSuchCommand = 127;

/// The longest wait whose end the clock can still represent.
constexpr std::chrono::hours kForEver{24 * 365 * 100};
/// How long a signal may go unnoticed while the lock is waited for.
constexpr milliseconds kPatience{100};

/// The signals that concern the command, blocked in all threads and taken one by one. Made once the store is open, and
/// destroyed before it is closed: before and after that they have their own effect, and the store's thread blocks all
/// signals.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&all_);
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD}) ::sigaddset(&all_, signal);
    std::signal(SIGCHLD, SIG_DFL);  // A process that ignores it has no children to wait for.
    ::pthread_sigmask(SIG_BLOCK, &all_, &before_);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  /// The next one, waiting for it no longer than this; nothing (signal 0) then.
  siginfo_t next(milliseconds patience) const {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(patience);
    const timespec time{seconds.count(), std::chrono::nanoseconds(patience - seconds).count()};
    siginfo_t info = {};
    if (::sigtimedwait(&all_, &info, &time) < 0) info.si_signo = 0;
    return info;
  }

  /// In the command's process.
  void restore() const {
    std::signal(SIGPIPE, SIG_DFL);
    std::signal(SIGXFSZ, SIG_DFL);
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t all_;
  sigset_t before_;
};

/// Ends the child with a message. It may call nothing that needs memory.
[[noreturn]] void give_up(std::string_view what, int code) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, what.data(), what.size());
  ::_exit(code);
}

pid_t start(const LockOptions& options, const Signals& signals) {
  std::vector<char*> arguments;
  for (const std::string& argument : options.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const std::string name = printable(options.command.front());
  const std::string unknown = fmt::format("oncelog: there is no command '{}'\n", name);
  const std::string refused = fmt::format("oncelog: the command '{}' cannot be executed\n", name);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw Error(ErrorCode::io, std::string("cannot start a process: ") + std::strerror(errno));
  if (child > 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(kNotGot);  // The parent died before the line above, and the lock is free.
  signals.restore();
  ::execvp(arguments.front(), arguments.data());
  if (errno == ENOENT) give_up(unknown, kNoSuchCommand);
  give_up(refused, kCannotRun);
}

/// Passes on signals and renews the lock until the command has ended. Returns the exit code.
int watch(pid_t child, Lock& lock, const LockOptions& options, const Signals& signals) {
  const milliseconds renew_every = std::max(options.lease / 3, milliseconds{1});
  Clock::time_point renew_at = Clock::now() + renew_every;
  bool held = true;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(renew_at - Clock::now());
    const siginfo_t info = signals.next(std::clamp(left, milliseconds{0}, renew_every));
    if (info.si_signo == SIGCHLD) {
      int status = 0;
      if (::waitpid(child, &status, WNOHANG) != child) continue;  // Stopped, or continued.
      if (!held) return kNotGot;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    // What a terminal's key sends, it sends to the command as well.
    if (info.si_signo != 0 && info.si_code != SI_KERNEL) ::kill(child, info.si_signo);
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
      return watch(start(options, signals), lock, options, signals);
    }
    if (Clock::now() >= limit) {
      fmt::print(stderr, "oncelog: process {} holds the lock '{}', until {} unless it renews it\n",
                 lock.owner()->process, printable(options.name), format_time(lock.owner()->deadline));
      return kNotGot;
    }
  }
}

}  // namespace oncelog::tool
