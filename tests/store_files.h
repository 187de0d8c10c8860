#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace oncelog::testing {

/// The derived files in a live directory (`live`, filters, indexes), by name in ascending order.
inline std::vector<std::filesystem::path> derived_files(const std::filesystem::path& live_dir,
                                                        const std::string& prefix = "") {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(live_dir)) {
    const std::string name = entry.path().filename().string();
    const bool derived = name == "live" || name.starts_with("filter-") || name.starts_with("index-");
    if (derived && name.starts_with(prefix)) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

inline void remove_derived(const std::filesystem::path& live_dir) {
  for (const auto& file : derived_files(live_dir)) std::filesystem::remove(file);
}

/// Copies files over what is there, contents and all, as a careless restore would.
inline void copy_over(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::remove(to);
  std::filesystem::copy_file(from, to);
}

/// Copies a whole store that nobody has open.
inline void copy_store(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::filesystem::create_directories(to);
  for (const auto& entry : std::filesystem::directory_iterator(from))
    copy_over(entry.path(), to / entry.path().filename());
}

}  // namespace oncelog::testing
