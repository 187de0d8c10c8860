#pragma once

namespace oncelog::tool {

/// Turns SIGINT, SIGTERM and SIGHUP into something a loop can wait for: descriptor() becomes readable with the first of
/// them, so that poll() on it beside the input has no gap in which a signal could be missed, whatever the input is.
/// A second signal of the same kind ends the process at once, for whoever cannot wait. Signals that the parent chose to
/// ignore (nohup, background jobs) stay ignored. One object at a time, in the main thread; it stays in force until
/// exit.
class StopSignal {
 public:
  StopSignal();

  /// For poll(); never to be read.
  int descriptor() const noexcept;

  /// The signal that asked for the stop, 0 while none has.
  static int received() noexcept;
};

/// Ends this process by the signal's default action, so that a shell sees what it sees of any other filter. Returns the
/// exit code that shells use for it, only if the signal did not end the process.
int end_by_signal(int signal);

}  // namespace oncelog::tool
