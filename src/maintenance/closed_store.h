#pragma once

#include <filesystem>
#include <optional>

#include <oncelog/options.h>

#include "base/descriptors.h"
#include "shared/open_lock.h"

namespace oncelog::internal {

/// How verify() and repair() get at a store that they do not open: a lock that keeps others from opening it, and its
/// data.mdb by a descriptor. Used by one thread.

/// How the store is opened that `asked`, a VerifyOptions or RepairOptions, is about.
template <typename Asked>
Options options_to_open(const Asked& asked) {
  Options opening;
  opening.create = false;
  opening.live_dir = asked.live_dir;
  opening.allow_foreign_owner = asked.allow_foreign_owner;
  opening.allow_network_filesystem = asked.allow_network_filesystem;
  if (asked.map_bytes) opening.map_bytes = *asked.map_bytes;
  if (asked.max_readers) opening.max_readers = *asked.max_readers;
  return opening;
}

/// What a directory is checked against whose data.mdb is only read.
inline Options options_to_read(bool allow_foreign_owner) {
  Options reading;
  reading.create = false;
  reading.read_only = true;
  reading.allow_foreign_owner = allow_foreign_owner;
  reading.allow_network_filesystem = true;
  return reading;
}

/// Whether nothing can be written in a directory, because its file system is mounted read-only here.
bool is_mounted_read_only(const std::filesystem::path& directory);

/// Locks a store, and returns whether nobody has it open; then nobody opens it while the lock is held. On a file system
/// that is mounted read-only there is no lock, and a process that has it open by another mount makes this throw
/// Error::in_use. Nor is there one of a store without a lock.mdb, a backup, that this user may only read.
bool lock_if_closed(std::optional<OpenLock>& lock, const std::filesystem::path& directory);

/// Locks a store that nobody may have open while the lock is held. None is needed where there is no lock.mdb: nobody
/// can have the store open then, and none is made. Throws Error::in_use.
void lock_alone(std::optional<OpenLock>& lock, const std::filesystem::path& directory);

/// A descriptor of data.mdb of its own. LMDB's locks lie on lock.mdb, so that closing this one drops none.
class DataFile {
 public:
  /// Throws Error::io or no_permission; not_a_store when it is not a regular file.
  explicit DataFile(const std::filesystem::path& path);
  int fd() const { return file_.get(); }

 private:
  Descriptor file_;
};

}  // namespace oncelog::internal
