#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <oncelog/error.h>
#include <oncelog/options.h>

#include "base/host.h"

namespace oncelog::internal {

/// A store's directory, before anything in it is opened.

/// The beginning of the names of data files that are being made. A process that dies while it creates a store leaves
/// such a file.
inline constexpr std::string_view kNewDataPrefix = "data.mdb.new-";

/// The Error::not_found for a directory that holds no store and in which none may be created.
Error no_store(const std::filesystem::path& directory);

/// Makes the directory if it may be created. Throws an Error if it cannot be a store or must not be used as one:
/// not_found, not_a_store, no_permission, unsupported.
void check_directory(const std::filesystem::path& directory, const Options& options);

/// Makes lock.mdb, if there is none, and allocates all of it: LMDB makes it sparse, and on a full disk a reader's first
/// look-up would be a SIGBUS. Called by the only process that has the store open, before LMDB opens the file. Throws
/// Error::full, no_permission, io.
void prepare_lock_file(const std::filesystem::path& directory, unsigned max_readers);

/// Identifies this very data.mdb: derived files, and a directory of them elsewhere, belong to it and not to a copy of
/// it.
Uuid store_file_id_of(const std::filesystem::path& directory, const Uuid& store_id);

/// Makes a new store's directory entries durable, its own and those of its files. A directory that must not be read
/// cannot be synced either, which is an Error unless `may_be_unreadable`.
void sync_directory(const std::filesystem::path& directory, bool may_be_unreadable = false);

}  // namespace oncelog::internal
