#pragma once

#include "shared/shared_state.h"

namespace oncelog::internal {

/// Shared memory of an earlier life.
struct Former {
  SharedState live;
  bool damaged;  // Nothing in its header is believed.
};

}  // namespace oncelog::internal
