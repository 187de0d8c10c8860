#pragma once

#include <string>
#include <vector>

#include "store_arguments.h"

namespace oncelog::tool {

struct ForgetOptions {
  StoreArguments store;
  std::vector<std::string> ids;
};

/// Makes processed ids fresh again, on disk at the end, and prints "forgotten ID" or "unknown ID" for each. Returns the
/// exit code: 0 when every id was forgotten, 1 when one was unknown, 128 + N after signal N. Errors: oncelog::Error,
/// ClosedOutput.
int run_forget(const ForgetOptions& options);

}  // namespace oncelog::tool
