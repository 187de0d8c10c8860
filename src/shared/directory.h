#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <oncelog/error.h>
#include <oncelog/options.h>

#include "base/host.h"

namespace oncelog::internal {

/// What a store's directory is before anything in it is opened.

/// What the names of data files that are being made begin with (see new_store.h); a creator that died leaves one.
inline constexpr std::string_view kNewDataPrefix = "data.mdb.new-";

/// Error::not_found, for a directory in which there is none and none may be made.
Error no_store(const std::filesystem::path& directory);

/// Makes the directory when it is to be created, and throws the Error for one that cannot be a store, or must not be
/// used as one: not_found, not_a_store, corrupt, no_permission, unsupported.
void check_directory(const std::filesystem::path& directory, const Options& options);

/// Makes a directory for the shared memory of the store in `directory`, where there is none. Root must not lock the
/// store's owner out by being the first to look after a reboot: what root makes belongs to data.mdb's owner.
void make_live_directory(const std::filesystem::path& live_dir, const std::filesystem::path& directory);

/// Makes lock.mdb, where there is none, and allocates all of it: LMDB makes it sparse, and on a full disk a reader's
/// first look-up would be a SIGBUS. For the user who is alone, before LMDB opens it. Error: full, no_permission, io.
void prepare_lock_file(const std::filesystem::path& directory, unsigned max_readers);

/// Names this very data.mdb: derived files, and a directory of them elsewhere, belong to it and not to a copy of it.
Uuid store_file_id_of(const std::filesystem::path& directory, const Uuid& store_id);

/// Makes a new store's directory entries durable, its own and its files'.
/// A directory that must not be read cannot be synced either; that is an Error unless `may_be_unreadable`.
void sync_directory(const std::filesystem::path& directory, bool may_be_unreadable = false);

/// The name of a store's own directory in a live_dir, so that stores may share a tmpfs.
std::string external_name(const Uuid& store_file_id);

}  // namespace oncelog::internal
