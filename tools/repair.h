#pragma once

#include "store_arguments.h"

namespace oncelog::tool {

struct RepairArguments {
  StoreArguments store;  // Retention and buckets where the store's own are lost.
  std::filesystem::path into;
  bool hints = false;
  bool json = false;
};

/// Saves what is whole into a new store, or has the hints rebuilt. Returns 0 when nothing was lost and 1 when something
/// was. Errors: oncelog::Error, ClosedOutput.
int run_repair(const RepairArguments& arguments);

}  // namespace oncelog::tool
