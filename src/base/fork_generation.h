#pragma once

#include <cstdint>

namespace oncelog::internal {

/// Moves in the child at each fork(), so that what belongs to a process knows when it has been carried into another
/// one. One relaxed load.
std::uint64_t fork_generation();

}  // namespace oncelog::internal
