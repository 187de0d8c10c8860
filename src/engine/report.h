#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/options.h>
#include <oncelog/record.h>

#include "engine/engine.h"
#include "engine/reader.h"
#include "shared/tally.h"

namespace oncelog::internal {

/// Reports the decisions of one call: counts each in the thread's tally when it is made, and calls the decision hook
/// for all of them after the call's work, a wait for the disk included. If the call throws, the hook is not called, but
/// the counts stand. Nothing else counts decisions or calls the hook. What the hook wants to know besides, when a
/// duplicate was first seen, comes from the look-up that decided.
class Report {
 public:
  /// `hook` may be empty. `ids` are how many there will be.
  Report(const DecisionHook& hook, ThreadTally& counters, const ScopeRef& scope, std::size_t ids)
      : hook_(hook), counters_(counters), scope_(scope) {
    if (hook_) [[unlikely]]
      first_seen_.resize(ids);
  }

  /// The i-th id was decided on; `found` is its earlier record, if it has one.
  void count(std::size_t i, Verdict verdict, const std::optional<Found>& found) {
    counters_.count(scope_.key.number, event_of(verdict));
    if (!hook_ || !found) [[likely]]
      return;
    if (verdict == Verdict::duplicate || verdict == Verdict::conflict) {
      first_seen_[i] = Time{std::chrono::microseconds{found->time_us}};
    }
  }

  /// Calls the hook for each. It may destroy the store's last handle: the caller keeps the engine alive, and the
  /// scope's name is copied first.
  void tell(std::span<const std::string_view> ids, std::span<const Attributes> attributes,
            std::span<const Verdict> verdicts) const {
    if (!hook_) [[likely]]
      return;
    call_hook(ids, attributes, [&](std::size_t i) { return verdicts[i]; });
  }
  void tell(std::span<const std::string_view> ids, std::span<const Attributes> attributes,
            std::span<const Marked> marked) const {
    if (!hook_) [[likely]]
      return;
    call_hook(ids, attributes, [&](std::size_t i) { return marked[i].verdict; });
  }

 private:
  template <typename VerdictOf>
  void call_hook(std::span<const std::string_view> ids, std::span<const Attributes> attributes,
                 VerdictOf verdict_of) const {
    const std::string name(scope_.name);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string_view correlation = attributes.empty() ? std::string_view{} : attributes[i].correlation;
      hook_(oncelog::Decision{verdict_of(i), name, ids[i], correlation, first_seen_[i]});
    }
  }

  const DecisionHook& hook_;
  ThreadTally& counters_;
  const ScopeRef scope_;
  std::vector<std::optional<Time>> first_seen_;  // For the hook alone.
};

}  // namespace oncelog::internal
