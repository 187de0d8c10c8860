#include "background/event_dispatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "base/quiet_thread.h"

namespace oncelog::internal {

/// Shared with the thread, which outlives the dispatch if the hook itself closes it.
struct EventDispatch::State {
  explicit State(StoreEventHook called) : hook(std::move(called)) {}

  void run();

  const StoreEventHook hook;
  std::thread thread;  // Written before anything is raised.
  mutable std::mutex mutex;
  std::condition_variable changed;
  // Under the mutex.
  std::deque<StoreEvent> queue;
  std::uint64_t lost = 0;  // Since the last call.
  bool closing = false;
  std::string trouble;
};

EventDispatch::EventDispatch(StoreEventHook hook) : state_(std::make_shared<State>(std::move(hook))) {
  state_->thread = start_quiet_thread("the store's event hook", [state = state_] { state->run(); });
}

EventDispatch::~EventDispatch() {
  if (state_) close();
}

void EventDispatch::raise(StoreEventKind kind, std::string sentence) {
  State& state = *state_;
  const std::lock_guard guard(state.mutex);
  state.queue.push_back({kind, std::move(sentence)});
  if (state.queue.size() > kCapacity) {
    // In this way one kind's noise does not cost another kind its last event.
    const auto same = std::ranges::find(state.queue.begin(), state.queue.end() - 1, kind, &StoreEvent::kind);
    state.queue.erase(same != state.queue.end() - 1 ? same : state.queue.begin());
    ++state.lost;
  }
  state.changed.notify_one();
}

std::string EventDispatch::trouble() const {
  const std::lock_guard guard(state_->mutex);
  return state_->trouble;
}

void EventDispatch::close() {
  const std::shared_ptr<State> state = std::exchange(state_, nullptr);
  const bool by_hook = state->thread.get_id() == std::this_thread::get_id();
  {
    const std::lock_guard guard(state->mutex);
    state->closing = true;
    if (by_hook) state->queue.clear();
    state->changed.notify_one();
  }
  if (by_hook) {
    state->thread.detach();
  } else {
    state->thread.join();
  }
}

void EventDispatch::State::run() {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait(lock, [this] { return closing || !queue.empty(); });
    if (queue.empty()) return;
    StoreEvent event = std::move(queue.front());
    queue.pop_front();
    const std::uint64_t lost_before = std::exchange(lost, 0);
    lock.unlock();
    std::string thrown;
    try {
      try {
        if (lost_before != 0) {
          event.sentence += fmt::format(" (the hook is too slow: {} events before this one were dropped)", lost_before);
        }
        hook(event);
      } catch (const std::exception& error) {
        thrown = fmt::format("the hook for the event {} threw: {}", to_string(event.kind), error.what());
      }
    } catch (const std::bad_alloc&) {
      // No memory to report it.
    }
    lock.lock();
    trouble = std::move(thrown);
  }
}

}  // namespace oncelog::internal
