#pragma once

#include <array>
#include <cstdint>

namespace oncelog::internal {

/// One bucket's column of the window filter: bit r of a line's word is row r of the bucket's lane. A column names no
/// lane, so that it can be put into any. Pure functions; some 10 ns a line.
using LaneRows = std::uint32_t;

inline constexpr std::uint64_t kEveryRow = 0x0001'0001'0001'0001;  // The lowest lane of the four rows of a word.

/// The rows of `lane` in a line, whose words have four rows of 16 lanes each.
inline LaneRows lane_rows(const std::array<std::uint64_t, 8>& line, unsigned lane) {
  // Moves bits 0, 16, 32 and 48 to 48 to 51; no other products meet there, and none carry.
  constexpr std::uint64_t kGather = std::uint64_t{1} << 48 | std::uint64_t{1} << 33 | 1U << 18 | 1U << 3;
  LaneRows rows = 0;
  for (unsigned word = 0; word < 8; ++word) {
    rows |= static_cast<LaneRows>((line[word] >> lane & kEveryRow) * kGather >> 48 & 15) << (4 * word);
  }
  return rows;
}

/// Sets them in a line of 8 words.
inline void add_lane_rows(std::uint64_t* line, unsigned lane, LaneRows rows) {
  // Moves bits 0 to 3 to 0, 16, 32 and 48, likewise.
  constexpr std::uint64_t kScatter = 1 | 1U << 15 | 1U << 30 | std::uint64_t{1} << 45;
  for (unsigned word = 0; word < 8; ++word) {
    line[word] |= ((rows >> (4 * word) & 15) * kScatter & kEveryRow) << lane;
  }
}

}  // namespace oncelog::internal
