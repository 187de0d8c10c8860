#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace oncelog::bench {

/// What a run is to do.
struct Plan {
  std::vector<std::size_t> ids{100'000, 1'000'000};  // Sizes of stores, each with a run of its own.
  std::vector<std::string> peers;                    // By name.
  std::size_t queries = 1'000'000;                   // Operations of a row at most; never more than the store has ids.
  std::size_t durable = 20'000;                      // The same for durable marks.
  std::chrono::milliseconds row_limit{2'000};        // What a row may take.
  std::chrono::milliseconds load_limit{120'000};     // What loading a store may take.
  std::filesystem::path directory = std::filesystem::temp_directory_path();
  std::filesystem::path out = "bench/results";
};

/// The numbers of the ids that each part of a run marks, far apart.
enum class Numbers : std::uint64_t {
  load = 0,
  fresh = std::uint64_t{1} << 40,
  consumer = std::uint64_t{2} << 40,
  threads = std::uint64_t{3} << 40,
  processes = std::uint64_t{4} << 40,
  durable = std::uint64_t{5} << 40,
  expiry = std::uint64_t{6} << 40,
  crash = std::uint64_t{7} << 40,
};

}  // namespace oncelog::bench
