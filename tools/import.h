#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "store_arguments.h"

namespace oncelog::tool {

/// What `oncelog import` is asked for.
struct ImportOptions {
  StoreArguments store;
  std::optional<std::string> scope = std::nullopt;  // Of all records, instead of their own.
  std::filesystem::path input = {};                 // Empty: standard input.
  std::filesystem::path checkpoint = {};            // Empty: none.
  bool progress = false;
};

/// Takes the records of an export over into a store, a batch for each read, and says on standard output how many. The
/// checkpoint says how much of the input is on the store's disk; a run that finds it goes on from there. Without one it
/// does no harm either to begin again. Returns the exit code: 0; 1 when ids are claimed, and must be imported again;
/// 128 + N after signal N. Errors: oncelog::Error, ClosedOutput.
int run_import(const ImportOptions& options);

}  // namespace oncelog::tool
