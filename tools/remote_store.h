#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "store_arguments.h"

namespace oncelog::tool {

/// Whether that is the address of a store that several hosts share, rather than a directory.
bool is_address(std::string_view text);
bool is_shared(const StoreArguments& arguments);

/// For commands that work on the files of a store. Error: unsupported for an address.
void refuse_address(std::string_view command, const std::filesystem::path& directory);

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
