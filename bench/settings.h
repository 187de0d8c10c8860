#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>

#include <fmt/format.h>

namespace oncelog::bench {

/// Where a store's shared-memory files lie.
enum class Live { disk, tmpfs };

/// What a run of the whole-store benchmarks works on.
struct Settings {
  std::size_t ids = 10'000'000;
  std::size_t queries = 1'000'000;
  std::filesystem::path store_dir = std::filesystem::temp_directory_path();
  std::filesystem::path tmpfs_dir = "/dev/shm";
  std::chrono::milliseconds stall_time = std::chrono::seconds{5};

  bool has_tmpfs() const { return std::filesystem::is_directory(tmpfs_dir); }
};

inline std::string name_of(Live live) {
  return live == Live::disk ? "live:disk" : "live:tmpfs";
}

}  // namespace oncelog::bench
