#include <oncelog/once.h>
#include <oncelog/scope.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/error.h"
#include "shared/argument_checks.h"

namespace oncelog {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

/// What this thread runs once, innermost first. An id that is asked for within its own run would wait for itself.
class Running {
 public:
  Running(const internal::Engine* engine, std::uint32_t scope, std::string_view id)
      : engine_(engine), scope_(scope), id_(id), outer_(std::exchange(innermost_, this)) {}
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { innermost_ = outer_; }

  static bool has(const internal::Engine* engine, std::uint32_t scope, std::string_view id) {
    for (const Running* one = innermost_; one != nullptr; one = one->outer_) {
      if (one->engine_ == engine && one->scope_ == scope && one->id_ == id) return true;
    }
    return false;
  }

 private:
  static inline thread_local const Running* innermost_ = nullptr;

  const internal::Engine* engine_;
  std::uint32_t scope_;
  std::string_view id_;
  const Running* outer_;
};

OnceResult of_record(Record& record, Verdict verdict) {
  // The result of a conflict answers another payload.
  return {verdict, false, verdict == Verdict::duplicate ? std::move(record.result) : std::string(), record.lsn};
}

}  // namespace

OnceResult Scope::once(std::string_view id, const OnceOptions& options,
                       const std::function<std::string()>& work) const {
  if (!options.attributes.result.empty()) internal::refuse("the result of once() is what its function returns");
  internal::check_lease(options.lease);
  internal::check_lease(options.max_runtime);
  const internal::Engine* const engine = engine_.get();
  const std::uint32_t scope = key().number;
  if (Running::has(engine, scope, id)) internal::refuse("once() is called within its own function for the same id");
  // Free after max_runtime, also where nothing renews it to that end any more.
  const milliseconds lease = options.keep_alive ? std::min(options.lease, options.max_runtime) : options.lease;
  // At most as long as a lease may be, whose end the clock can tell.
  const auto limit = Steady::now() + std::clamp(options.patience, milliseconds{0}, internal::kMaxLease);
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(limit - Steady::now());
    Claim claim = begin(id, lease, options.attributes, std::max(left, milliseconds{0}));
    if (claim) {
      const Running running(engine, scope, id);
      if (options.keep_alive) claim.keep(options.max_runtime);
      std::string result = work();  // What it throws frees the id.
      const Completed completed = claim.complete({.result = result});
      if (completed) return {Verdict::fresh, true, std::move(result), completed.lsn};
      // Whoever has taken the id decides what stands for it.
      auto record = find(id);
      OnceResult late = record ? of_record(*record, Verdict::duplicate) : OnceResult{.verdict = Verdict::in_progress};
      late.ran = true;
      return late;
    }
    const Verdict verdict = claim.verdict();
    const bool has_record = verdict == Verdict::duplicate || (verdict == Verdict::conflict && !claim.owner());
    if (!has_record) return {.verdict = verdict};
    if (claim.record()) {
      Record record = *claim.record();
      return of_record(record, verdict);
    }
    // The record has expired since the decision, so the id is fresh again.
  }
}

}  // namespace oncelog
