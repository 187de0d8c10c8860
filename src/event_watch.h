#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>

#include <oncelog/event.h>

#include "clock.h"
#include "flusher.h"
#include "live.h"

namespace oncelog::internal {

/// Notices what an operator should know of, by comparing what it finds with what it found the time before, and calls
/// Options::on_event. Each process tells what it sees itself: flushes are its own, dropped buckets anyone's. Nothing to
/// do without a hook.
class EventWatch {
 public:
  EventWatch(StoreEventHook hook, std::filesystem::path directory, const LiveHeader& live, const Clock& clock);

  /// On the flusher's thread, in every round.
  void look(const Flusher& flusher);

  /// What the hook threw when it was last called; empty when it returned. Thread-safe.
  std::string trouble() const;

 private:
  void look_at_flushes(const Flusher::Turns& turns);
  void look_at_drops();
  void look_at_clock();
  void raise(StoreEventKind kind, std::string sentence);

  const StoreEventHook hook_;
  const std::filesystem::path directory_;
  const LiveHeader& live_;
  const Clock& clock_;

  // What was told already.
  std::uint64_t turns_ = 0;
  std::uint64_t early_drops_;
  bool clock_fault_ = false;

  mutable std::mutex mutex_;
  std::string trouble_;
};

}  // namespace oncelog::internal
