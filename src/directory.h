#pragma once

#include <filesystem>
#include <string>

#include <oncelog/options.h>

#include "host.h"

namespace oncelog::internal {

/// What a store's directory is before anything in it is opened.

/// Makes the directory when it is to be created, and throws the Error for one that cannot be a store, or must not be
/// used as one: not_found, not_a_store, corrupt, no_permission, unsupported.
void check_directory(const std::filesystem::path& directory, const Options& options);

/// Makes a directory for the shared memory of the store in `directory`, where there is none. Root must not lock the
/// store's owner out by being the first to look after a reboot: what root makes belongs to data.mdb's owner.
void make_live_directory(const std::filesystem::path& live_dir, const std::filesystem::path& directory);

/// Throws Error::corrupt when data.mdb is there and empty. For the holder of the open lock, and a store that was
/// complete once: a creation that was cut short may leave an empty file.
void check_not_emptied(const std::filesystem::path& directory);

/// Names this very data.mdb: derived files, and a directory of them elsewhere, belong to it and not to a copy of it.
Uuid home_of(const std::filesystem::path& directory, const Uuid& store_id);

/// Makes a new store's directory entries durable, its own and its files'.
void sync_directory(const std::filesystem::path& directory);

/// The name of a store's own directory in a live_dir, so that stores may share a tmpfs.
std::string external_name(const Uuid& home);

}  // namespace oncelog::internal
