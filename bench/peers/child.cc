#include "child.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace oncelog::bench {
namespace {

constexpr int kSignalled = 128;

std::array<int, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
  return ends;
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments) {
  const auto [child_in, to] = make_pipe();
  const auto [from, child_out] = make_pipe();
  std::vector<char*> words{const_cast<char*>("/proc/self/exe")};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, child_in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, child_out, STDOUT_FILENO);
  const int code = ::posix_spawn(&pid_, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(child_in);
  ::close(child_out);
  to_ = ::fdopen(to, "w");
  from_ = ::fdopen(from, "r");
  if (code != 0) {
    pid_ = -1;
    throw std::system_error(code, std::generic_category(), "posix_spawn");
  }
}

Child::~Child() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
  std::fclose(to_);
  std::fclose(from_);
}

void Child::write_line(const std::string& line) {
  std::fprintf(to_, "%s\n", line.c_str());
  std::fflush(to_);
}

std::optional<std::string> Child::read_line() {
  char* line = nullptr;
  std::size_t room = 0;
  const ssize_t size = ::getline(&line, &room, from_);
  std::optional<std::string> read;
  if (size > 0) read.emplace(line, static_cast<std::size_t>(size) - (line[size - 1] == '\n' ? 1 : 0));
  ::free(line);
  return read;
}

int Child::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "waitpid");
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
}

}  // namespace oncelog::bench
