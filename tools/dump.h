#pragma once

#include <optional>
#include <string>

#include <oncelog/record.h>

#include "store_arguments.h"

namespace oncelog::tool {

struct DumpOptions {
  StoreArguments store;
  std::optional<std::string> scope = std::nullopt;
  std::optional<std::string> correlation = std::nullopt;
  std::optional<Time> since = std::nullopt;
  std::optional<Time> until = std::nullopt;
};

/// Prints the live records of a range, or those of it that belong to a correlation, oldest first, one JSON object a
/// line. Returns the exit code. Errors: oncelog::Error (not_found for a scope that was never used), ClosedOutput.
int run_dump(const DumpOptions& options);

}  // namespace oncelog::tool
