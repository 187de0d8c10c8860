#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "support.h"

namespace oncelog::testing {

/// Runs `work` in a child process, an instruction at a time, and kills the child right after it has changed `memory`,
/// which it shares, for the n-th time, from 1. False when the work ended before. So a test that counts n up to there
/// sees every state that a death can leave.
inline bool dies_at_change(std::span<const std::byte> memory, unsigned n, const std::function<void()>& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
    ::raise(SIGSTOP);
    work();
    ::_exit(0);
  }
  std::vector<std::byte> before(memory.begin(), memory.end());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSTOPPED(status));
  while (WIFSTOPPED(status)) {
    if (std::memcmp(before.data(), memory.data(), memory.size()) != 0) {
      std::memcpy(before.data(), memory.data(), memory.size());
      if (--n == 0) break;
    }
    // Not by REQUIRE, which takes far longer than the step itself.
    if (::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0 || ::waitpid(child, &status, 0) != child) {
      FAIL("cannot step the child");
    }
  }
  if (!WIFSTOPPED(status)) {
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    return false;
  }
  ::kill(child, SIGKILL);
  REQUIRE(::waitpid(child, &status, 0) == child);
  return true;
}

}  // namespace oncelog::testing
