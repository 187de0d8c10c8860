#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace oncelog::tool {

/// EX_TEMPFAIL: what was to run the command was not to be had, or was lost; try again later.
inline constexpr int kNotGot = 75;

/// The longest wait whose end the clock can still represent.
inline constexpr std::chrono::hours kForEver{24 * 365 * 100};

/// The signals that concern a command that this one runs, blocked in all threads and taken one by one. Made once the
/// store is open, and destroyed before it is closed: before and after that they have their own effect, and the store's
/// thread blocks all signals.
class Signals {
 public:
  Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  ~Signals();

  /// The next one, waiting for it no longer than this; nothing (signal 0) then.
  siginfo_t next(std::chrono::milliseconds patience) const;

  /// In the command's process.
  void restore() const;

 private:
  sigset_t all_;
  sigset_t before_;
};

/// Runs a command, whose standard output is `output` unless that is negative. It gets SIGTERM when this process dies.
/// Where it cannot be executed it ends with 126, or 127 when there is none of that name. Throws Error::io when no
/// process can be started.
pid_t start_child(const std::vector<std::string>& command, const Signals& signals, int output = -1);

/// The exit code of the child if it has ended, 128 + N when signal N ended it; nothing when it was stopped or goes on.
std::optional<int> exit_code_of(pid_t child);

/// Passes on a signal to the child; what a terminal's key sends, it sends to the command as well.
void pass_on(const siginfo_t& info, pid_t child);

}  // namespace oncelog::tool
