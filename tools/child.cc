#include "child.h"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include <oncelog/error.h>

#include "printable.h"

namespace oncelog::tool {
namespace {

constexpr int kCannotRun = 126;
constexpr int kNoSuchCommand = 127;

/// Ends the child with a message. It may call nothing that needs memory.
[[noreturn]] void give_up(std::string_view what, int code) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, what.data(), what.size());
  ::_exit(code);
}

}  // namespace

Signals::Signals() {
  ::sigemptyset(&all_);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD}) ::sigaddset(&all_, signal);
  std::signal(SIGCHLD, SIG_DFL);  // A process that ignores it has no children to wait for.
  ::pthread_sigmask(SIG_BLOCK, &all_, &before_);
}

Signals::~Signals() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

siginfo_t Signals::next(std::chrono::milliseconds patience) const {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(patience);
  const timespec time{seconds.count(), std::chrono::nanoseconds(patience - seconds).count()};
  siginfo_t info = {};
  if (::sigtimedwait(&all_, &info, &time) < 0) info.si_signo = 0;
  return info;
}

void Signals::restore() const {
  std::signal(SIGPIPE, SIG_DFL);
  std::signal(SIGXFSZ, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

pid_t start_child(const std::vector<std::string>& command, const Signals& signals, int output) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const std::string name = printable(command.front());
  const std::string unknown = fmt::format("oncelog: there is no command '{}'\n", name);
  const std::string refused = fmt::format("oncelog: the command '{}' cannot be executed\n", name);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) throw Error(ErrorCode::io, std::string("cannot start a process: ") + std::strerror(errno));
  if (child > 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(kNotGot);  // The parent died before the line above, and what it held is free.
  signals.restore();
  if (output >= 0 && ::dup2(output, STDOUT_FILENO) < 0) give_up(refused, kCannotRun);
  ::execvp(arguments.front(), arguments.data());
  if (errno == ENOENT) give_up(unknown, kNoSuchCommand);
  give_up(refused, kCannotRun);
}

std::optional<int> exit_code_of(pid_t child) {
  int status = 0;
  if (::waitpid(child, &status, WNOHANG) != child) return std::nullopt;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void pass_on(const siginfo_t& info, pid_t child) {
  if (info.si_signo != 0 && info.si_code != SI_KERNEL) ::kill(child, info.si_signo);
}

}  // namespace oncelog::tool
