#pragma once

#include <filesystem>
#include <utility>

#include "base/host.h"

namespace oncelog::internal {

/// Where a store's shared memory lies: in the store's own directory, or in one that is the store's alone within another
/// directory, so that stores may share a tmpfs. Immutable; any thread.
class LivePlaces {
 public:
  /// `directory` is the store's, absolute.
  LivePlaces(std::filesystem::path directory, const Uuid& store_file_id)
      : directory_(std::move(directory)), store_file_id_(store_file_id) {}

  /// The store's own directory.
  std::filesystem::path own() const;
  /// Where Options::live_dir puts it, which is not empty. Throws Error::io when that cannot be resolved.
  std::filesystem::path within(const std::filesystem::path& live_dir) const;
  /// What `noted`, in the table `meta`, says; empty when it says nothing of this store: what a copied store has noted
  /// is the original's.
  std::filesystem::path noted(const std::filesystem::path& noted) const;

 private:
  std::filesystem::path directory_;
  Uuid store_file_id_;
};

/// Makes the directory for the shared memory of the store in `directory`, if there is none. What root makes belongs to
/// the owner of data.mdb, so that root does not lock that user out by being the first to open the store after a reboot.
void make_live_directory(const std::filesystem::path& live_dir, const std::filesystem::path& directory);

}  // namespace oncelog::internal
