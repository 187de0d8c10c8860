#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "background/background.h"
#include "base/exported.h"
#include "shared/held_lease.h"

namespace oncelog::internal {

class Engine;

/// Renews the leases of claims whose work takes longer, in the background: each at a third of it, so that two renewals
/// may come late before it expires. A renewal goes by the token, so that one which comes when the claim has just been
/// completed, abandoned or taken by another does nothing.
///
/// Thread-safe. Adding and removing a claim costs two short locks; a thread is only woken for a lease that is shorter
/// than what was waited for anyway. The engine outlives what is added.
class Renewals {
 public:
  using Clock = Background::Clock;

  ONCELOG_INTERNAL explicit Renewals(Engine& engine);
  ONCELOG_INTERNAL ~Renewals();

  /// A claim that is kept alive as long as this exists, but no longer than `most`.
  class Kept {
   public:
    /// `held.id` outlives it. Throws Error::io when the system cannot start a thread.
    Kept(Renewals& renewals, const HeldLease& held, std::chrono::milliseconds lease, std::chrono::milliseconds most);
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    /// Waits for a renewal of it that is under way.
    ~Kept();

   private:
    friend class Renewals;

    Renewals& renewals_;
    const HeldLease held_;
    const std::chrono::milliseconds lease_;
    const Clock::time_point until_;
    const std::uint64_t process_;  // The child of a fork has none of its parent's.
    Clock::time_point due_;
  };

 private:
  void add(Kept& kept);
  void remove(Kept& kept);
  Background::Next run();
  Kept* next_due(Clock::time_point now);
  void renew(const Kept& kept, std::chrono::milliseconds lease) const;

  Engine& engine_;
  std::mutex mutex_;  // Of all that follows.
  std::condition_variable renewed_;
  std::vector<Kept*> kept_;
  const Kept* renewing_ = nullptr;
  Clock::time_point wakes_ = Clock::time_point::max();  // When run() comes again.
  // Last: its run uses the rest.
  std::optional<Background::Task> task_;
};

}  // namespace oncelog::internal
