#pragma once

#include <cstdint>

namespace oncelog::internal {

/// Changes in the child at each fork(), so that what belongs to a process can see that it is in another one now. One
/// relaxed load.
std::uint64_t fork_generation();

}  // namespace oncelog::internal
