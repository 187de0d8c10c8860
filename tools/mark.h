#pragma once

#include <string>
#include <vector>

#include "store_arguments.h"

namespace oncelog::tool {

struct MarkOptions {
  StoreArguments store;
  std::vector<std::string> ids;
  std::string correlation = {};
  std::string result = {};
  bool quiet = false;
};

/// Marks the ids and prints "fresh ID", "duplicate ID" or, where another process has claimed it, "in_progress ID" for
/// each. Returns the exit code: 0, or 128 + N after signal N. Errors: oncelog::Error, ClosedOutput.
int run_mark(const MarkOptions& options);

}  // namespace oncelog::tool
