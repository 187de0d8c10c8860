#include "engine/running_transaction.h"

namespace oncelog::internal {

thread_local constinit const RunningTransaction* RunningTransaction::innermost_ = nullptr;

bool RunningTransaction::in(const OpenedStore& store) {
  for (const RunningTransaction* running = innermost_; running != nullptr; running = running->outer_) {
    if (&running->store_ == &store) return true;
  }
  return false;
}

}  // namespace oncelog::internal
