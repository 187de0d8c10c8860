#pragma once

#include <cstdint>
#include <filesystem>

#include "base/descriptors.h"

struct stat;

namespace oncelog::internal {

/// Who has a store open: makes its opening and closing one process at a time, reports whether other processes use it,
/// and refuses what would open it twice in one process or as two halves. The locks are the kernel's (open file
/// description locks, on bytes far beyond the end of the files): a process that dies releases them, and no other
/// descriptor's close does. They are on data.mdb itself, which cannot be deleted or replaced without the store being
/// another one, and on lock.mdb, which LMDB locks elsewhere:
///
///   data.mdb   opening    exclusive, while a process opens or closes the store
///              users      shared by all who have it open; whoever gets it exclusively is alone
///              process    one for each process id, exclusive: a second copy of this library there finds it taken
///              pair       one for each possible lock.mdb, shared: all users have the same
///   lock.mdb   pair       one for each possible data.mdb, shared: likewise
///
/// Used by one thread at a time, in the order acquire, join, pair. A child of fork() holds nothing of it.
class OpenLock {
 public:
  explicit OpenLock(const std::filesystem::path& directory);
  OpenLock(const OpenLock&) = delete;
  OpenLock& operator=(const OpenLock&) = delete;
  ~OpenLock();  // Releases everything.

  /// Opens data.mdb, and waits for the exclusive lock on opening and closing; false when there is no data.mdb. Throws
  /// Error::in_use when this process has the store open by another copy of the library.
  bool acquire();

  /// Joins the users of the store; returns true when there is no other process among them. Throws Error::in_use when an
  /// earlier version of this library, which has its locks elsewhere, has the store open.
  bool join();

  /// Joins the users of lock.mdb, which is there. Throws Error::in_use when the store's other users have another one,
  /// or this one's other users another data.mdb: either was deleted or replaced while it was in use.
  void pair();

  /// The exclusive lock, which acquire() takes: held while LMDB's environment is opened or closed.
  void lock();
  void unlock();

  /// Whether processes have the store open, asked without taking a lock: for a file system that is mounted read-only.
  static bool used_by_others(const std::filesystem::path& directory);

  /// data.mdb at its path is the file that is locked.
  bool is_current() const;

  /// data.mdb's descriptor, and its status.
  int descriptor() const { return data_.get(); }
  struct stat status() const;

  /// What an earlier version noted as the store's live directory, in the file that it locked; empty when there is none.
  std::filesystem::path formerly_noted_live_dir() const;
  /// Whether there is such a file.
  bool used_by_earlier_version() const { return static_cast<bool>(former_); }
  /// Deletes that file: no earlier version can open the store any more.
  void forget_earlier_version();

 private:
  std::filesystem::path data_path_;
  std::filesystem::path lock_path_;
  std::filesystem::path former_path_;
  // Closed after LMDB's environment is: closing any descriptor of lock.mdb drops LMDB's locks on it.
  ParentsDescriptor data_;
  ParentsDescriptor lock_;
  ParentsDescriptor former_;
};

}  // namespace oncelog::internal
