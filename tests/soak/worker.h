#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include <oncelog/options.h>

#include "board.h"

namespace oncelog::soak {

/// What all processes of a soak agree on.
struct Plan {
  std::filesystem::path store;
  std::filesystem::path live_dir;  // Of the shared memory.
  std::int64_t began_us = 0;       // Boot clock.
  std::int64_t began_wall_us = 0;

  Options options() const;
};

inline constexpr std::chrono::seconds kRetention{10};
inline constexpr std::uint64_t kCapBytes = std::uint64_t{64} << 20;

/// A worker's life: opens the store and marks, checks, claims, transacts and forgets in kThreads threads until the
/// board says stop, comparing each answer with what the board says must be. Returns the exit code. What contradicts a
/// promise is written to the board, an error too: none is expected.
int work(const Plan& plan, Board& board, unsigned worker, std::uint32_t life, std::uint64_t seed);

/// When all workers have ended: opens the store once more and compares what it holds with the board.
int check_at_the_end(const Plan& plan, Board& board);

}  // namespace oncelog::soak
