#pragma once

#include <filesystem>

#include "base/descriptors.h"
#include "base/host.h"

namespace oncelog::internal {

/// A store's directory in another one, in which its shared memory lies, as a process that has the store open holds it:
/// by a shared lock, so that nobody takes it for left over. Beside the shared memory lies a note of the store that it
/// belongs to. A directory of a store that was deleted since is deleted by the next store that wants to be beside it.
///
/// What others have made in a directory that everyone may write to is not believed: nobody who is not trusted can
/// replace the directory once it is open, where only its owner may delete it (as in /dev/shm).
///
/// Used by one thread. The child of a fork() holds nothing.
class LiveDirectory {
 public:
  /// Of the store in `directory`.
  struct Trust {
    std::filesystem::path directory;
    bool everyone = false;  // Options::allow_foreign_owner.
  };

  LiveDirectory() = default;
  LiveDirectory(const LiveDirectory&) = delete;
  LiveDirectory& operator=(const LiveDirectory&) = delete;
  ~LiveDirectory() { release(); }

  /// Opens and holds it; made first where there is none, with the owner and the rights of the store's own. Throws
  /// Error::no_permission when it belongs to a user who is not trusted, or is no directory.
  void make_and_hold(const std::filesystem::path& live_dir, const Trust& trust);
  /// The same of one that is there; false when it is not.
  bool hold(const std::filesystem::path& live_dir, const Trust& trust);
  void release() noexcept;

  /// Notes the store in `directory`, which is resolved. What cannot be noted is never taken for left over.
  static void note_store(const std::filesystem::path& live_dir, const std::filesystem::path& directory);

 private:
  ParentsDescriptor file_;
};

/// Whether such a directory belongs to a trusted user, or is not there. Throws Error::io, no_permission.
bool is_trusted(const std::filesystem::path& live_dir, const LiveDirectory::Trust& trust);

/// Deletes the directory of a store whose shared memory is elsewhere by now, if nothing else lies in it.
void remove_live_directory(const std::filesystem::path& live_dir) noexcept;

/// Deletes the directories in `tmpfs`, one after the other, that belong to this user, that no process holds, whose
/// store is gone and whose loss costs nobody a record or a claim: not even if the store is still there after all, under
/// another name. Whose store is not seen from here, as its file system is not mounted, stays. Costs some microseconds
/// for each directory of a store.
void remove_left_over(const std::filesystem::path& tmpfs, const Uuid& boot_id);

}  // namespace oncelog::internal
