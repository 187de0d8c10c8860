#pragma once

#include <cstdint>
#include <filesystem>

namespace oncelog::bench {

/// The bytes that the files below a folder take on disk.
std::uint64_t disk_bytes(const std::filesystem::path& directory);
/// Has the kernel forget the pages of the files below a folder that are on disk, after it has written all.
void drop_cached(const std::filesystem::path& directory);

}  // namespace oncelog::bench
