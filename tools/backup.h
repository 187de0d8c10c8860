#pragma once

#include "store_arguments.h"

namespace oncelog::tool {

struct BackupArguments {
  StoreArguments store;
  std::filesystem::path into;
  bool json = false;
};

/// Copies the store while it is used, and prints the LSN below which every mark is in the copy, and its size. Returns
/// 0. Errors: oncelog::Error, ClosedOutput.
int run_backup(const BackupArguments& arguments);

}  // namespace oncelog::tool
