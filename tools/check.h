#pragma once

#include "id_batches.h"
#include "store_arguments.h"

namespace oncelog::tool {

struct CheckOptions {
  StoreArguments store;
  IdArguments ids;
  bool quiet = false;
};

/// Looks the ids up, without marking them, and prints "known ID" or "unknown ID" for each. Returns the exit code: 0
/// when every id is known, 1 when one is not, 128 + N after signal N. Errors: oncelog::Error, ClosedOutput.
int run_check(const CheckOptions& options);

}  // namespace oncelog::tool
