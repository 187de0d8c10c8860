#pragma once

#include <filesystem>

#include <oncelog/options.h>

#include "shared/open_lock.h"

namespace oncelog::internal {

/// How a store's data.mdb comes to be: under another name, with its tables and its identity in it, and synced; then it
/// is renamed. So it is whole whenever it is there, and nothing that exists is ever deleted for it: the loser of a race
/// deletes its own file. Called by a process that opens a directory without a data.mdb; takes no lock. Some
/// milliseconds.

/// Makes data.mdb, unless another process makes one first. Error: full, no_permission, io.
void create_data_file(const std::filesystem::path& directory, const Options& options);

/// Whether data.mdb is what a creation by an earlier version left when it was cut short: nothing was ever committed to
/// it, or the power failed and it has no valid first page and was never complete, so that nothing was accepted. Throws
/// Error::corrupt when it is empty and no such left-over. The caller holds its locks, alone.
bool is_unfinished(const OpenLock& lock, const std::filesystem::path& directory);

/// As create_data_file, in place of an unfinished data.mdb of an earlier version. The caller holds its locks, alone.
void replace_data_file(const std::filesystem::path& directory, const Options& options);

/// Deletes unfinished files. One that is being made at this moment is made again by its maker. For the user who is
/// alone.
void remove_unfinished(const std::filesystem::path& directory);

}  // namespace oncelog::internal
