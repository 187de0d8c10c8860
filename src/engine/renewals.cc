#include "engine/renewals.h"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <vector>

#include "base/fork_generation.h"
#include "engine/engine.h"

namespace oncelog::internal {

using std::chrono::milliseconds;

struct Renewals::State {
  explicit State(Engine& of) : engine(of) {}

  Background::Next run();
  Kept* next_due(Clock::time_point now) const;
  bool renew(const Kept& kept, milliseconds lease) const;

  Engine& engine;
  std::mutex mutex;  // Of all that follows.
  std::condition_variable renewed;
  std::vector<Kept*> all;
  const Kept* renewing = nullptr;
  Clock::time_point wakes = Clock::time_point::max();  // When run() comes again.
  std::optional<Background::Task> task;                // Last: its run uses the rest.
};

Renewals::Renewals(Engine& engine) : process_(fork_generation()), state_(std::make_unique<State>(engine)) {}

Renewals::~Renewals() {
  if (forked()) static_cast<void>(state_.release());
}

bool Renewals::forked() const {
  return process_ != fork_generation();
}

Renewals::Kept::Kept(Renewals& renewals, const HeldLease& held, milliseconds lease, milliseconds most)
    : renewals_(renewals),
      held_(held),
      lease_(lease),
      until_(Clock::now() + most),
      due_(Clock::now() + std::min(lease, most) / 3) {
  renewals_.add(*this);
}

Renewals::Kept::~Kept() {
  renewals_.remove(*this);
}

void Renewals::add(Kept& kept) {
  if (forked()) return;
  State& state = *state_;
  const std::lock_guard guard(state.mutex);
  state.all.reserve(state.all.size() + 1);
  if (!state.task) {
    state.wakes = kept.due_;
    state.task.emplace([&state] { return state.run(); });
  } else if (kept.due_ < state.wakes) {
    state.wakes = kept.due_;
    state.task->run_by(kept.due_);
  }
  state.all.push_back(&kept);
}

void Renewals::remove(Kept& kept) {
  if (forked()) return;
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  state.renewed.wait(lock, [&] { return state.renewing != &kept; });
  const auto at = std::ranges::find(state.all, &kept);
  *at = state.all.back();
  state.all.pop_back();
}

Background::Next Renewals::State::run() {
  std::unique_lock lock(mutex);
  for (;;) {
    const Clock::time_point now = Clock::now();
    Kept* const kept = next_due(now);
    if (kept == nullptr) break;
    // The lease ends with the time that the claim is kept for.
    const auto left = std::chrono::floor<milliseconds>(kept->until_ - now);
    if (left < milliseconds{1}) {
      kept->due_ = Clock::time_point::max();
      continue;
    }
    const milliseconds lease = std::min(kept->lease_, left);
    renewing = kept;
    lock.unlock();
    const bool done = renew(*kept, lease);
    lock.lock();
    // From now on: a server that has not answered for long must not keep the others from their turn.
    const bool last = done && lease == left;
    kept->due_ = last ? Clock::time_point::max() : Clock::now() + std::max(lease / 3, milliseconds{1});
    renewing = nullptr;
    renewed.notify_all();
  }
  wakes = Clock::time_point::max();
  for (const Kept* kept : all) wakes = std::min(wakes, kept->due_);
  return Background::Next::at(wakes);
}

/// The one whose turn is first, if it has come.
Renewals::Kept* Renewals::State::next_due(Clock::time_point now) const {
  const auto first = std::ranges::min_element(all, {}, [](const Kept* kept) { return kept->due_; });
  return first == all.end() || (*first)->due_ > now ? nullptr : *first;
}

/// Returns whether that was possible. A server that does not answer, memory that is short: it is tried again after a
/// third of the lease. Whoever completes the claim learns whether it was lost.
bool Renewals::State::renew(const Kept& kept, milliseconds lease) const {
  try {
    engine.renew(kept.held_, lease);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace oncelog::internal
