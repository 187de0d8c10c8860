#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/host.h"
#include "lmdb/catalog.h"
#include "shared/settings.h"

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
  /// Where Options::live_dir puts it, which is not empty: into a directory of the store's own there, but for the
  /// store's own directory itself. Throws Error::io when that cannot be resolved.
  std::filesystem::path given(const std::filesystem::path& live_dir) const;
  /// What `noted`, in the table `meta`, says; empty when it says nothing of this store: what a copied store has noted
  /// is the original's.
  std::filesystem::path noted(const std::filesystem::path& noted) const;
  /// Where it would lie in the host's tmpfs. Nothing where that has no room for `planned` bytes or is not to be had,
  /// where the store is in memory itself, and where this user is neither the store's owner nor root: the owner might
  /// not be able to use what others make.
  std::optional<std::filesystem::path> in_tmpfs(const Host& host, std::uint64_t planned) const;

 private:
  std::filesystem::path directory_;
  Uuid store_file_id_;
};

/// The store that a directory of such a name belongs to; nothing where it is none of these names.
std::optional<Uuid> store_file_id_in(std::string_view name);

/// What the shared memory of a store takes that is as large as its settings or as it was last, whichever is more.
std::uint64_t planned_bytes(const Settings& settings, unsigned buckets,
                            const std::vector<std::pair<std::uint64_t, BucketRow>>& rows);

/// Whether so much may be taken of it: a third of what is free at most, as it grows when it is outgrown, and a quarter
/// of all.
bool has_room(const BootTmpfs& tmpfs, std::uint64_t planned);

}  // namespace oncelog::internal
