#include "process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
extern "C" {
#include <sys/pidfd.h>  // glibc 2.36 leaves it to its users to say that these are functions of C.
}

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <system_error>

namespace oncelog::bench {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// Sums the fields of a process that count memory which the kernel cannot drop; 0 for one that is gone.
std::uint64_t held_by(const std::string& process) {
  std::ifstream in("/proc/" + process + "/smaps_rollup");
  std::string field;
  std::uint64_t bytes = 0;
  while (in >> field) {
    std::uint64_t kib = 0;
    if ((field == "Pss_Anon:" || field == "Pss_Shmem:") && in >> kib) bytes += kib * 1024;
  }
  return bytes;
}

/// The parent of a process; 0 for one that is gone.
pid_t parent_of(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(in, text, '\0');                  // Throws nothing for one that goes meanwhile, as iterators would.
  const std::size_t name_end = text.rfind(')');  // The name in brackets may hold anything.
  if (name_end == std::string::npos) return 0;
  std::istringstream rest(text.substr(name_end + 1));
  std::string state;
  pid_t parent = 0;
  rest >> state >> parent;
  return parent;
}

std::string end_of(const std::filesystem::path& log) {
  std::ifstream in(log);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return text.substr(text.size() - std::min<std::size_t>(text.size(), 2000));
}

/// Starts a program that dies with this process. The child makes system calls only, as other threads may hold locks.
pid_t spawn(const std::vector<std::string>& command, const std::string& user, const std::filesystem::path& log) {
  const passwd* const other = user.empty() || ::geteuid() != 0 ? nullptr : ::getpwnam(user.c_str());
  if (other == nullptr && !user.empty() && ::geteuid() == 0) throw std::runtime_error("there is no user " + user);
  const uid_t uid = other == nullptr ? 0 : other->pw_uid;
  const gid_t gid = other == nullptr ? 0 : other->pw_gid;
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (out < 0) fail(log.string());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (other != nullptr && (::setgroups(1, &gid) != 0 || ::setgid(gid) != 0 || ::setuid(uid) != 0)) ::_exit(126);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // A change of user would clear it.
    if (::getppid() != parent) ::_exit(126);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(out);
  if (pid < 0) fail("fork");
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) fail("waitpid");
  }
  return status;
}

/// Returns when a process has ended, whether or not its parent has asked for its status.
void wait_until_gone(int pidfd) {
  pollfd ended{pidfd, POLLIN, 0};
  while (::poll(&ended, 1, -1) < 0) {
    if (errno != EINTR) fail("poll");
  }
}

}  // namespace

std::uint64_t memory_of_self() {
  return held_by("self");
}

std::filesystem::path find_program(const std::string& name, const std::vector<std::filesystem::path>& others) {
  std::vector<std::filesystem::path> folders;
  const char* const path = std::getenv("PATH");
  std::istringstream in(path == nullptr ? "" : path);
  for (std::string folder; std::getline(in, folder, ':');) folders.emplace_back(folder);
  folders.insert(folders.end(), others.begin(), others.end());
  for (const auto& folder : folders) {
    if (::access((folder / name).c_str(), X_OK) == 0) return folder / name;
  }
  return {};
}

void run_program(const std::vector<std::string>& command, const std::string& user, const std::filesystem::path& log) {
  if (wait_for(spawn(command, user, log)) != 0) {
    throw std::runtime_error(fmt::format("{} failed: {}", command.front(), end_of(log)));
  }
}

std::string first_line_of(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(::popen(command.c_str(), "re"), ::pclose);
  if (!out) fail(command);
  std::string line;
  for (int c = std::fgetc(out.get()); c != EOF && c != '\n'; c = std::fgetc(out.get())) line += static_cast<char>(c);
  return line;
}

Server::~Server() {
  end(SIGKILL);
}

void Server::start(const std::vector<std::string>& command, const std::string& user, const std::filesystem::path& log) {
  log_ = log;
  pid_ = spawn(command, user, log);
}

void Server::expect_alive() {
  if (::waitpid(pid_, nullptr, WNOHANG) == 0) return;
  pid_ = -1;
  throw std::runtime_error(fmt::format("the server has ended: {}", end_of(log_)));
}

std::vector<pid_t> Server::family() const {
  std::vector<pid_t> all{pid_};
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const pid_t pid = static_cast<pid_t>(std::stol(name));
    if (parent_of(pid) == pid_) all.push_back(pid);
  }
  return all;
}

void Server::end(int signal) {
  if (!started()) return;
  if (signal == SIGKILL) {
    // A child that it started after the others were counted would outlive it.
    ::kill(pid_, SIGSTOP);
    siginfo_t stopped;
    ::waitid(P_PID, static_cast<id_t>(pid_), &stopped, WSTOPPED | WEXITED | WNOWAIT);
  }
  std::vector<int> ends;
  for (const pid_t pid : family()) {
    const int pidfd = ::pidfd_open(pid, 0);
    if (pidfd < 0) continue;
    ends.push_back(pidfd);
    // The signals that ask for an end are for the server itself: it ends its children.
    if (pid == pid_ || signal == SIGKILL) ::pidfd_send_signal(pidfd, signal, nullptr, 0);
  }
  wait_for(pid_);
  pid_ = -1;
  for (const int pidfd : ends) {
    wait_until_gone(pidfd);
    ::close(pidfd);
  }
}

void Server::signal(int number) const {
  for (const pid_t pid : family()) ::kill(pid, number);
}

std::uint64_t Server::memory_bytes() const {
  std::uint64_t bytes = 0;
  for (const pid_t pid : family()) bytes += held_by(std::to_string(pid));
  return bytes;
}

}  // namespace oncelog::bench
