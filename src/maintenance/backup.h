#pragma once

#include <filesystem>
#include <functional>

#include <oncelog/backup.h>

#include "base/host.h"
#include "lmdb/handles.h"

namespace oncelog::internal {

/// Writes a backup of the store in `directory`, which is open as `env`, to the new directory `target`. Once that can be
/// made, `flush` is called: it has what the backup is to hold put on disk, and returns up to where everything is.
BackupReport write_backup(const lmdb::Env& env, const std::filesystem::path& directory,
                          const std::filesystem::path& target, const std::function<Lsn()>& flush);

/// oncelog::restore at that host's time.
RestoreReport restore_backup(const std::filesystem::path& backup, const std::filesystem::path& directory,
                             const RestoreOptions& options, const Host& host);

}  // namespace oncelog::internal
