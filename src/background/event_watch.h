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

/// Notices what an operator should know, by comparing what it finds with what it found the time before, and reports it
/// to Options::on_event. Each process reports what it sees itself: failures of its own flushes, and buckets that any
/// process dropped. Does nothing without a hook.
class EventWatch {
 public:
  /// `dispatch` is null without a hook.
  EventWatch(std::shared_ptr<EventDispatch> dispatch, std::filesystem::path directory, const SharedHeader& live,
             const Clock& clock);

  /// Reports that the shared memory was damaged, in this sentence.
  void tell_of_damage(std::string sentence);

  /// Called in every round and look of the background, by one thread at a time.
  void look(const Flusher& flusher);

  /// What the hook threw in its last call; empty if it returned. Thread-safe.
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

  // What has been reported.
  std::uint64_t turns_ = 0;
  std::uint64_t early_drops_;
  bool clock_fault_ = false;
};

}  // namespace oncelog::internal
