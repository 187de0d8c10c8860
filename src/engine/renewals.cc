#include "engine/renewals.h"

#include <algorithm>
#include <exception>

#include "base/fork_generation.h"
#include "engine/engine.h"

namespace oncelog::internal {

using std::chrono::milliseconds;

Renewals::Kept::Kept(Renewals& renewals, const HeldLease& held, milliseconds lease, milliseconds most)
    : renewals_(renewals),
      held_(held),
      lease_(lease),
      until_(Clock::now() + most),
      process_(fork_generation()),
      due_(Clock::now() + std::min(lease, most) / 3) {
  renewals_.add(*this);
}

Renewals::Kept::~Kept() {
  if (process_ == fork_generation()) renewals_.remove(*this);
}

Renewals::Renewals(Engine& engine) : engine_(engine) {}

Renewals::~Renewals() = default;

void Renewals::add(Kept& kept) {
  const std::lock_guard guard(mutex_);
  kept_.reserve(kept_.size() + 1);
  if (!task_) {
    wakes_ = kept.due_;
    task_.emplace([this] { return run(); });
  } else if (kept.due_ < wakes_) {
    wakes_ = kept.due_;
    task_->run_by(kept.due_);
  }
  kept_.push_back(&kept);
}

void Renewals::remove(Kept& kept) {
  std::unique_lock lock(mutex_);
  renewed_.wait(lock, [&] { return renewing_ != &kept; });
  const auto at = std::ranges::find(kept_, &kept);
  *at = kept_.back();
  kept_.pop_back();
}

Background::Next Renewals::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    const Clock::time_point now = Clock::now();
    Kept* const kept = next_due(now);
    if (kept == nullptr) break;
    // The lease ends with the time that the claim is kept for.
    const auto left = std::chrono::floor<milliseconds>(kept->until_ - now);
    const milliseconds lease = std::min(kept->lease_, left);
    kept->due_ = lease < left ? now + std::max(lease / 3, milliseconds{1}) : Clock::time_point::max();
    if (left < milliseconds{1}) continue;
    renewing_ = kept;
    lock.unlock();
    renew(*kept, lease);
    lock.lock();
    renewing_ = nullptr;
    renewed_.notify_all();
  }
  wakes_ = Clock::time_point::max();
  for (const Kept* kept : kept_) wakes_ = std::min(wakes_, kept->due_);
  return Background::Next::at(wakes_);
}

/// The one whose turn is first, if it has come.
Renewals::Kept* Renewals::next_due(Clock::time_point now) {
  const auto first = std::ranges::min_element(kept_, {}, &Kept::due_);
  return first == kept_.end() || (*first)->due_ > now ? nullptr : *first;
}

void Renewals::renew(const Kept& kept, milliseconds lease) const {
  try {
    engine_.renew(kept.held_, lease);
  } catch (const std::exception&) {
    // A server that does not answer, memory that is short: it is tried again after a third of the lease. Whoever
    // completes the claim learns whether it was lost.
  }
}

}  // namespace oncelog::internal
