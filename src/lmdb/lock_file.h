#pragma once

#include <sys/types.h>

#include <filesystem>
#include <utility>

#include "base/descriptors.h"

namespace oncelog::internal::lmdb {

/// Which file it is, whatever its name.
using FileId = std::pair<dev_t, ino_t>;

/// lock.mdb beside LMDB's own use of it. LMDB's locks on it belong to the process: anything in it that closes a
/// descriptor of that file drops them, and then another process takes the reader table for abandoned and makes it
/// again. Here the byte that stands for "in use" is locked by an open file description as well, which nothing else can
/// drop, and the one that stands for this process's life is locked again after each commit.
///
/// Opened before LMDB opens the file, and closed after LMDB has closed it: any closing drops the process's locks.
/// Thread safety: as its owner's, an Env, but assert_alive() may be called by any thread.
class LockFile {
 public:
  /// Makes the file where there is none. Throws Error::io or no_permission.
  void open(const std::filesystem::path& path);
  explicit operator bool() const { return static_cast<bool>(file_); }

  FileId id() const;

  /// Locks the byte that stands for "in use", shared.
  void hold() const;

  /// Releases it by name: a child that was made without fork()'s handlers shares the open file, and would keep the lock
  /// for as long as it lives. A failure leaves it to the close.
  void release() const;

  /// Locks the byte by which other processes see that this one lives, and keep its reader slots. LMDB has locked it,
  /// and it is the process's: to lock it again changes nothing, or mends what a close has dropped. A failure is no
  /// worse than that: a reader that loses its slot finds out, and takes another.
  void assert_alive() const;

 private:
  std::filesystem::path path_;
  ParentsDescriptor file_;
};

}  // namespace oncelog::internal::lmdb
