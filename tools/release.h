#pragma once

#include <string>
#include <vector>

#include "store_arguments.h"

namespace oncelog::tool {

struct ReleaseOptions {
  StoreArguments store;
  std::vector<std::string> ids;
};

/// Frees claimed ids, whoever has them, and prints "released ID" or "unclaimed ID" for each. Returns the exit code: 0
/// when every id was claimed, 1 when one was not, 128 + N after signal N. Errors: oncelog::Error, ClosedOutput.
int run_release(const ReleaseOptions& options);

}  // namespace oncelog::tool
