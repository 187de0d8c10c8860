#include "background/event_watch.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <utility>

namespace oncelog::internal {

EventWatch::EventWatch(std::shared_ptr<EventDispatch> dispatch, std::filesystem::path directory,
                       const SharedHeader& live, const Clock& clock)
    : dispatch_(std::move(dispatch)),
      directory_(std::move(directory)),
      live_(live),
      clock_(clock),
      early_drops_(live.counters.early_drops.load(std::memory_order_relaxed)) {}

void EventWatch::tell_of_damage(std::string sentence) {
  if (dispatch_) dispatch_->raise(StoreEventKind::memory_damaged, std::move(sentence));
}

void EventWatch::look(const Flusher& flusher) {
  if (!dispatch_) return;
  look_at_flushes(flusher.turns());
  look_at_drops();
  look_at_clock();
}

void EventWatch::look_at_flushes(const Flusher::Turns& turns) {
  while (turns_ < turns.count) {
    const bool failing = ++turns_ % 2 != 0;
    if (failing) {
      dispatch_->raise(StoreEventKind::flush_failed, turns.last_failure);
    } else {
      dispatch_->raise(StoreEventKind::flush_recovered, fmt::format("{}: flushing works again", directory_.string()));
    }
  }
}

void EventWatch::look_at_drops() {
  const std::uint64_t now = live_.counters.early_drops.load(std::memory_order_relaxed);  // Relaxed: a counter.
  if (now == early_drops_) return;
  const std::uint64_t dropped = now - std::exchange(early_drops_, now);
  // Acquire: pairs with the release by the thread that dropped the bucket.
  const std::chrono::microseconds since{live_.known_since_us.load(std::memory_order_acquire)};
  const std::chrono::sys_seconds shown{std::chrono::ceil<std::chrono::seconds>(since)};
  dispatch_->raise(
      StoreEventKind::bucket_dropped_early,
      fmt::format("{}: max_bytes made the store forget {} of its time buckets before their retention expired; what was "
                  "processed before {:%FT%TZ} may be taken for fresh",
                  directory_.string(), dropped, shown));
}

void EventWatch::look_at_clock() {
  const std::int64_t fault_us = clock_.fault_us();
  const bool fault = fault_us > Clock::kNoiseUs;
  if (fault == std::exchange(clock_fault_, fault) || !fault) return;
  dispatch_->raise(
      StoreEventKind::clock_fault,
      fmt::format("{}: the wall clock is {} s ahead of the boot clock; correct it if it is wrong; expiry follows the "
                  "boot clock until then, or until the wall clock has been ahead for the retention",
                  directory_.string(), fault_us / 1'000'000));
}

}  // namespace oncelog::internal
