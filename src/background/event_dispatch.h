#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <oncelog/event.h>

#include "base/exported.h"

namespace oncelog::internal {

/// Calls Options::on_event on a thread of its own, so that neither a slow hook nor one that opens and closes stores
/// keeps the store waiting. Made for a store that is opened with a hook. Queues up to kCapacity events: one more
/// replaces the oldest of its kind, and the next call's sentence says how many were lost.
///
/// Thread safety: raise() and trouble() from any thread; close() once.
class EventDispatch {
 public:
  static constexpr std::size_t kCapacity = 64;

  /// Throws Error::io when the system cannot start a thread.
  ONCELOG_INTERNAL explicit EventDispatch(StoreEventHook hook);
  EventDispatch(const EventDispatch&) = delete;
  EventDispatch& operator=(const EventDispatch&) = delete;
  /// Closes it unless close() was called.
  ONCELOG_INTERNAL ~EventDispatch();

  ONCELOG_INTERNAL void raise(StoreEventKind kind, std::string sentence);

  /// What the hook threw in its last call; empty if it returned.
  std::string trouble() const;

  /// Returns once everything that was raised has been delivered and the hook has returned. On the hook's own thread it
  /// returns at once, and the running call is the last one. The engine is closed before, because hooks may open the
  /// store again.
  void close();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace oncelog::internal
