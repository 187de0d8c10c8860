#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <oncelog/event.h>

namespace oncelog::internal {

/// Calls Options::on_event on a thread of its own, so that neither a slow hook nor one that opens and closes stores
/// keeps anything of the store waiting. Made with the store that has a hook. What is raised is queued, up to kCapacity
/// events: one more takes the place of the oldest of its kind, and the next call's sentence says how many were lost.
///
/// Thread safety: raise() and trouble() from any thread; close() once.
class EventDispatch {
 public:
  static constexpr std::size_t kCapacity = 64;

  /// Throws Error::io when there is no thread to be had.
  explicit EventDispatch(StoreEventHook hook);
  EventDispatch(const EventDispatch&) = delete;
  EventDispatch& operator=(const EventDispatch&) = delete;
  /// Closes it unless that was done.
  ~EventDispatch();

  void raise(StoreEventKind kind, std::string sentence);

  /// What the hook threw when it was last called; empty when it returned.
  std::string trouble() const;

  /// Returns once all that was raised has been delivered and the hook runs no more. On the hook's own thread, it
  /// returns at once, and the running call is the last. The engine is closed before: hooks may open the store again.
  void close();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace oncelog::internal
