#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

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
/// than what was waited for anyway. The engine outlives what is added. They are renewed one after the other: where a
/// server does not answer, each waits for those before it.
class Renewals {
 public:
  using Clock = Background::Clock;

  ONCELOG_INTERNAL explicit Renewals(Engine& engine);
  Renewals(const Renewals&) = delete;
  Renewals& operator=(const Renewals&) = delete;
  ONCELOG_INTERNAL ~Renewals();

  /// A claim that is kept alive as long as this exists, but no longer than `most`. It was taken, or renewed, just now.
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
    Clock::time_point due_;
  };

 private:
  struct State;

  void add(Kept& kept);
  void remove(Kept& kept);
  bool forked() const;

  const std::uint64_t process_;
  // The parent's in the child of a fork: never touched there, as its lock may be held for ever.
  std::unique_ptr<State> state_;
};

}  // namespace oncelog::internal
