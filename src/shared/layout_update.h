#pragma once

#include "base/error.h"
#include "base/store_locks.h"
#include "shared/shared_state.h"
#include "shared/store_lock.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Publishes what change(layout) makes of the layout in force if it returns true, under the store's mutex. Returns
/// whether it did. Throws Error::corrupt where the layout is damaged: its counts are used as indexes.
template <typename Change>
bool update_layout(const SharedState& state, Change change) EXCLUDES(kStoreMutex) {
  const StoreLock lock(state);
  LayoutCell& cell = state.header().layout;
  std::uint64_t epoch = 0;
  Layout layout = cell.read(epoch);
  if (!layout.well_formed()) throw Error(ErrorCode::corrupt, "the layout in the store's shared memory is damaged");
  if (!change(layout)) return false;
  cell.publish(layout);
  return true;
}

}  // namespace oncelog::internal
