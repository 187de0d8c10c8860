#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "store_arguments.h"

namespace oncelog::tool {

struct LockOptions {
  StoreArguments store;
  std::string name;
  std::chrono::milliseconds lease = std::chrono::seconds{30};
  std::chrono::milliseconds wait{0};
  std::vector<std::string> command;
};

/// Runs a command while holding a named lock of the store, renewed until it ends. The command finds the fencing token
/// in its environment as ONCELOG_TOKEN, and is sent the signals that this process gets; should this process die, the
/// lock is free and the command gets SIGTERM. Once the command has ended a signal ends this process.
///
/// Returns the exit code: the command's, 128 + N when signal N ended it, 126 or 127 when it could not be run, 75 when
/// the lock could not be taken within `wait` or was lost meanwhile (then the command gets SIGTERM). Errors:
/// oncelog::Error.
int run_lock(const LockOptions& options);

}  // namespace oncelog::tool
