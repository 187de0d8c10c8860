#pragma once

#include <cstdint>
#include <filesystem>

#include "base/descriptors.h"

struct stat;

namespace oncelog::internal {

/// Keeps track of the processes that have a store open: lets one process at a time open or close it, reports whether
/// other processes use it, and refuses to open it twice in one process or with files of two stores. The locks are the
/// kernel's open file description locks, on bytes far beyond the end of the files: a process that dies releases them,
/// and closing another descriptor does not. They are on data.mdb itself, which cannot be deleted or replaced without
/// making it another store, and on lock.mdb, which LMDB locks elsewhere:
///
///   data.mdb   opening    exclusive, while a process opens or closes the store
///              users      shared by all who have it open; whoever gets it exclusively is alone
///              process    one for each process id, exclusive: a second copy of this library there finds it taken
///              pair       one for each possible lock.mdb, shared: all users have the same
///   lock.mdb   pair       one for each possible data.mdb, shared: likewise
///
/// Used by one thread at a time, in the order acquire, join, pair. The child of a fork() holds none of the locks.
class OpenLock {
 public:
  explicit OpenLock(const std::filesystem::path& directory);
  OpenLock(const OpenLock&) = delete;
  OpenLock& operator=(const OpenLock&) = delete;
  ~OpenLock();  // Releases everything.

  /// Opens data.mdb, and waits for the exclusive lock on opening and closing. Returns false when there is no data.mdb.
  /// Throws Error::in_use when this process has the store open by another copy of the library.
  bool acquire();

  /// Joins the users of the store. Returns whether there are no others. Throws Error::in_use when an earlier version of
  /// this library, whose locks are elsewhere, has the store open.
  bool join();

  /// Joins the users of lock.mdb, which must exist. Throws Error::in_use when the store's other users have another
  /// lock.mdb, or this one's other users another data.mdb: one of the two was deleted or replaced while it was in use.
  void pair();

  /// Takes and releases the exclusive lock, which acquire() takes as well. It is held while LMDB's environment is
  /// opened or closed.
  void lock();
  void unlock();

  /// Whether processes have the store open. Takes no lock, for a file system that is mounted read-only.
  static bool used_by_others(const std::filesystem::path& directory);

  /// Whether the file at data.mdb's path is the one that is locked.
  bool is_current() const;

  /// data.mdb's descriptor, and its status.
  int descriptor() const { return data_.get(); }
  struct stat status() const;

  /// The directory of the store's shared memory that an earlier version noted in the file that it locked; empty when
  /// there is none.
  std::filesystem::path formerly_noted_live_dir() const;
  /// Whether there is such a file.
  bool used_by_earlier_version() const { return static_cast<bool>(former_); }
  /// Deletes that file, once no earlier version can open the store any more.
  void forget_earlier_version();

 private:
  std::filesystem::path data_path_;
  std::filesystem::path lock_path_;
  std::filesystem::path former_path_;
  // Closed after LMDB's environment: closing any descriptor of lock.mdb drops LMDB's locks on it.
  ParentsDescriptor data_;
  ParentsDescriptor lock_;
  ParentsDescriptor former_;
};

}  // namespace oncelog::internal
