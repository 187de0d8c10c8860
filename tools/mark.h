#pragma once

#include <string>

#include "id_batches.h"
#include "store_arguments.h"

namespace oncelog::tool {

struct MarkOptions {
  StoreArguments store;
  IdArguments ids;
  std::string correlation = {};
  std::string result = {};
  bool quiet = false;
  bool exit_code = false;  ///< Says by it whether all ids were fresh.
};

/// Marks the ids and prints "fresh ID", "duplicate ID" or, where another process has claimed it, "in_progress ID" for
/// each. Returns the exit code: 0, or 1 when an id was not fresh and `exit_code` asks for it, or 128 + N after signal
/// N. Errors: oncelog::Error, ClosedOutput.
int run_mark(const MarkOptions& options);

}  // namespace oncelog::tool
