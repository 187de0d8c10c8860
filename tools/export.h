#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include <oncelog/record.h>

#include "legacy.h"
#include "store_arguments.h"

namespace oncelog::tool {

/// What `oncelog export` is asked for: a store, or what services kept before they used oncelog.
struct ExportOptions {
  StoreArguments store;
  std::optional<std::string> scope = std::nullopt;  // All, unless given; of keys, the one that they are put into.
  std::optional<Time> since = std::nullopt;
  std::optional<Time> until = std::nullopt;
  std::filesystem::path output = {};  // Empty: standard output.
  std::optional<LegacyTable> table = std::nullopt;
  std::optional<LegacyKeys> keys = std::nullopt;
  bool progress = false;
};

/// Writes the live record of each id as a line of JSON, as append_record does, in the order of the LSNs. A file that
/// is there is that of an export of a store on disk that was interrupted: what follows its last line is appended.
/// Constant memory. Returns the exit code. Errors: oncelog::Error, ClosedOutput.
int run_export(const ExportOptions& options);

}  // namespace oncelog::tool
