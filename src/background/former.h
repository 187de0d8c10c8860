#pragma once

#include "shared/shared_state.h"

namespace oncelog::internal {

/// Shared memory of an earlier life: of this boot and store, but to be replaced, or used again if it is whole.
struct Former {
  SharedState live;
  bool damaged;  // If so, nothing in its header is believed.
};

}  // namespace oncelog::internal
