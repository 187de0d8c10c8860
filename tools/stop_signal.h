#pragma once

#include <csignal>

namespace oncelog::tool {

/// Turns SIGINT, SIGTERM and SIGHUP into something a loop can wait for: descriptor() becomes readable with the first of
/// them, so that poll() on it beside the input has no gap in which a signal could be missed, whatever the input is. A
/// second signal of the same kind ends the process at once, for a user who cannot wait. Signals that the parent chose
/// to ignore (nohup, background jobs) stay ignored. One object in a process, in the main thread. When it is destroyed
/// the signals have their own effect again: destroyed before the store, it leaves the store's closing to be ended by
/// the first one.
class StopSignal {
 public:
  StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal() { end_at_once(); }

  /// From now on the first signal ends the process as well, as if it were not caught. For waits for the disk while
  /// nothing is in hand: another process may be stopped in the middle of a write, for any length of time.
  void end_at_once() noexcept;
  /// Undoes that.
  void end_in_order() noexcept;

  /// For poll(); never to be read.
  int descriptor() const noexcept;

  /// The signal that asked for the stop, 0 while none has.
  static int received() noexcept;

 private:
  sigset_t released_;  // The signals that end_at_once has given their own effect.
};

/// Ends this process by the signal's default action, so that a shell sees what it sees of any other filter. Returns the
/// exit code that shells use for it, only if the signal did not end the process.
int end_by_signal(int signal);

}  // namespace oncelog::tool
