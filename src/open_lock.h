#pragma once

#include <filesystem>
#include <string>

namespace oncelog::internal {

/// The file `oncelog.lock` of a store: makes opening and closing one process at a time, tells whether other processes
/// have the store open, and says where its live directory is. Locks are the kernel's (open file description locks), so
/// that a process that dies lets go of them. Used by one thread at a time.
class OpenLock {
 public:
  /// Opens the file, creating it, and waits for the exclusive lock on opening and closing.
  explicit OpenLock(const std::filesystem::path& directory);
  OpenLock(const OpenLock&) = delete;
  OpenLock& operator=(const OpenLock&) = delete;
  ~OpenLock();  // Lets go of everything.

  /// The exclusive lock, which the constructor takes.
  void lock();
  void unlock();

  /// Joins the users of the store; returns true when there is no other process among them. Needs the exclusive lock.
  bool join();

  /// The live directory that was noted last; empty when none was. Needs the exclusive lock.
  std::filesystem::path noted_live_dir() const;
  void note_live_dir(const std::filesystem::path& live_dir);

  /// Forgets the descriptor: in a child of the process that opened it, the locks are the parent's.
  void abandon() { fd_ = -1; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace oncelog::internal
