#pragma once

#include <cstdint>

#include "base/exported.h"

namespace oncelog::internal {

/// Changes in the child at each fork(), so that what belongs to a process can see that it is in another one now. One
/// relaxed load.
ONCELOG_INTERNAL std::uint64_t fork_generation();

}  // namespace oncelog::internal
