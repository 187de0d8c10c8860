#pragma once

#include "store_arguments.h"

namespace oncelog::tool {

struct ClaimsOptions {
  StoreArguments store;
  bool json = false;
};

/// Prints the claims and locks that are held, oldest first, one a line: TOKEN PID alive|dead DEADLINE ORPHANS SCOPE ID,
/// where a lock's scope is "-", or as JSON objects. Of an id only its first 64 bytes are known. Returns the exit code.
/// Errors: oncelog::Error, ClosedOutput.
int run_claims(const ClaimsOptions& options);

}  // namespace oncelog::tool
