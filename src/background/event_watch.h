#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include <oncelog/event.h>

#include "background/event_dispatch.h"
#include "background/flusher.h"
#include "base/clock.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Notices what an operator should know of, by comparing what it finds with what it found the time before, and has
/// Options::on_event called. Each process reports what it sees itself: flushes are its own, dropped buckets anyone's.
/// Nothing to do without a hook.
class EventWatch {
 public:
  /// `dispatch` is null without a hook.
  EventWatch(std::shared_ptr<EventDispatch> dispatch, std::filesystem::path directory, const SharedHeader& live,
             const Clock& clock);

  /// The shared memory was damaged, as the sentence says.
  void tell_of_damage(std::string sentence);

  /// In every round of the background, one at a time.
  void look(const Flusher& flusher);

  /// What the hook threw when it was last called; empty when it returned. Thread-safe.
  std::string trouble() const { return dispatch_ == nullptr ? std::string() : dispatch_->trouble(); }

  const std::shared_ptr<EventDispatch>& dispatch() const { return dispatch_; }

 private:
  void look_at_flushes(const Flusher::Turns& turns);
  void look_at_drops();
  void look_at_clock();

  const std::shared_ptr<EventDispatch> dispatch_;
  const std::filesystem::path directory_;
  const SharedHeader& live_;
  const Clock& clock_;

  // What was reported already.
  std::uint64_t turns_ = 0;
  std::uint64_t early_drops_;
  bool clock_fault_ = false;
};

}  // namespace oncelog::internal
