#pragma once

#include <filesystem>

#include "base/descriptors.h"

namespace oncelog::internal {

/// A directory that is made under another name beside its place and renamed there when everything in it is on disk: an
/// error in between leaves no half-made backup or store. What a process that died has left is removed by the next one
/// with the same target: the maker of a directory holds its lock (flock). Used by one thread.
class StagedDirectory {
 public:
  /// Makes it, and the parents of `target` where there are none. What is in `target`'s place is an empty directory or
  /// nothing, and it is not within the store `source`; throws Error::invalid_argument otherwise.
  StagedDirectory(const std::filesystem::path& target, const std::filesystem::path& source);
  StagedDirectory(const StagedDirectory&) = delete;
  StagedDirectory& operator=(const StagedDirectory&) = delete;
  /// Removes it with everything in it, unless it is published.
  ~StagedDirectory();

  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& target() const { return target_; }

  /// Syncs the directory, gives it its name, and syncs the parents up to the first one that was there. The files in it
  /// are the caller's to sync.
  void publish();

  /// Root must not lock out the owner of what it copies: gives everything in here to the owner of `original`. Does
  /// nothing for other users.
  void give_to_owner_of(const std::filesystem::path& original) const;

 private:
  void remove_abandoned() const;
  bool make();

  std::filesystem::path target_;
  std::filesystem::path path_;
  ParentsDescriptor lock_;
  std::filesystem::path oldest_parent_;  // That was there before.
  bool published_ = false;
};

/// Syncs a directory's entries, or a file's contents, to disk.
void sync_path(const std::filesystem::path& path);

}  // namespace oncelog::internal
