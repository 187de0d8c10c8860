#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "child.h"
#include "store_arguments.h"

namespace oncelog::tool {

struct OnceArguments {
  StoreArguments store;
  std::string id;
  std::chrono::milliseconds lease = std::chrono::seconds{30};
  std::chrono::milliseconds max_runtime = std::chrono::hours{24};
  std::chrono::milliseconds wait = kForEver;
  bool keep_failure = false;
  std::vector<std::string> command;
};

/// Runs a command once for an id. Its standard output goes to this one's as it comes, and is kept with its exit code: a
/// later call prints it and returns the code, and one that comes meanwhile waits for it. The id's result is the exit
/// code, a newline, and the output.
///
/// Returns the exit code: the command's or the kept one, 128 + N when signal N ended it, 126 or 127 when it could not
/// be run, 75 when another call runs it for longer than `wait`, or the id was lost meanwhile. A command that fails
/// frees the id unless `keep_failure`. Errors: oncelog::Error.
int run_once(const OnceArguments& arguments);

}  // namespace oncelog::tool
