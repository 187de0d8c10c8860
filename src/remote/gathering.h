#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "remote/forwarding.h"

namespace oncelog::internal::remote {

/// Gathers what threads ask for at the same time into one round trip, as a group commit does. Calls of one kind for one
/// scope are a lane: while a batch of it is under way, later calls queue up, and the first of them then sends all that
/// waits. It has no thread of its own. A call that finds its lane free is sent as it is, at once; the price of a free
/// lane is one mutex. Lanes do not wait for each other.
///
/// Each ask keeps its caller's attempt, so that a caller whose batch was lost may ask again alone or among others. An
/// exception reaches all whose ids were in the batch, and nobody else.
///
/// Invariants, under the mutex: one thread sends for a lane at a time; whoever waits in a lane that nobody sends for
/// has been notified; a lane lives as long as there is a call in it.
///
/// Thread safety: all of it.
class Gathering final : public Forwarding {
 public:
  /// Calls of more ids than these are not gathered: they are worth a round trip of their own, beside the one under way.
  static constexpr std::size_t kFewIds = 32;
  /// How many ids a batch has at most.
  static constexpr std::size_t kMostIds = 1024;
  static_assert(kFewIds <= kMostIds);

  /// A call whose turn has not come within `timeout` throws ConnectionLost; nothing of it was sent. One that was sent
  /// takes as long as the engine behind waits for an answer.
  Gathering(std::shared_ptr<Backend> next, std::chrono::milliseconds timeout);
  ~Gathering() override;

  void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
            std::span<std::optional<Record>> out) override;
  void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
            std::span<Answer> out) override;
  void claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
             std::span<Answer> out) override;

  /// How many calls wait for their turn now.
  std::size_t waiting() const;

 private:
  using Limit = std::chrono::steady_clock::time_point;
  struct Kind;
  class Turn;
  struct Call;
  struct Lane;
  class Failure;

  void join(const Kind& kind, std::string_view scope, Call& own);
  Lane& lane_of(const Kind& kind, std::string_view scope);
  void leave_if_unused(const Lane& lane);
  void wait_in(Lane& lane, Call& own, Limit limit, std::unique_lock<std::mutex>& lock);
  void withdraw(Lane& lane, Call& own, std::unique_lock<std::mutex>& lock);
  void lead(Lane& lane, std::unique_lock<std::mutex>& lock);
  static std::vector<Call*> take_batch(Lane& lane);
  bool send(const Lane& lane, std::span<Call* const> batch, Failure& failure);
  void send_alone(const Lane& lane, const Call& call);
  void send_finds(const Lane& lane, std::span<Call* const> batch);
  void send_asks(const Lane& lane, std::span<Call* const> batch);
  void ask(const Lane& lane, std::span<const Ask> asked, const Attempt& attempt, std::span<Answer> out);

  const std::chrono::milliseconds timeout_;
  mutable std::mutex mutex_;
  std::list<Lane> lanes_;  // Those with a call in them: a few.
};

}  // namespace oncelog::internal::remote
