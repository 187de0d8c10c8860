#pragma once

#include <filesystem>

namespace oncelog::tool {

struct RestoreArguments {
  std::filesystem::path backup;
  std::filesystem::path into;
  bool allow_foreign_owner = false;
  bool json = false;
};

/// Makes a store of a backup, and prints what it remembers. Returns 0. Errors: oncelog::Error, ClosedOutput.
int run_restore(const RestoreArguments& arguments);

}  // namespace oncelog::tool
