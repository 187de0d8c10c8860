#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "store_arguments.h"

namespace oncelog::tool {

/// Whether --store names a store that several hosts share, rather than a directory.
bool is_shared(const StoreArguments& arguments);

/// What a command is going to do with the store.
enum class OpenFor { marks, changes, reading };

/// Opens a shared store. Errors: those of remote::open; invalid_argument for an option that only stores on disk have,
/// unsupported where this command was built without oncelog-remote.
Store open_shared(const StoreArguments& arguments, OpenFor purpose);

/// What `oncelog remote init` is told.
struct RemoteInitOptions {
  std::string address;
  std::optional<std::chrono::milliseconds> retention = std::nullopt;
  bool print = false;
};

/// Makes what the store needs on its server, or prints the statements that do.
int run_remote_init(const RemoteInitOptions& options);

}  // namespace oncelog::tool
