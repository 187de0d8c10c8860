#pragma once

/// @file
/// Run once: what Scope::once takes and returns.

#include <chrono>
#include <string>

#include <oncelog/record.h>

namespace oncelog {

/// How Scope::once runs its function. Its limits are those of Scope::begin.
struct OnceOptions {
  /// How long the id is claimed for the function at a time: that is how long it stays claimed when this process is
  /// stopped, or, of a store that hosts share, when it dies.
  std::chrono::milliseconds lease{30'000};

  /// Renew the lease while the function runs, for up to `max_runtime`; see Claim::keep_alive. Without, a function that
  /// runs longer than the lease may lose the id to another caller, and so run beside it.
  bool keep_alive = true;

  /// After this time the id is free for another caller, and once one has taken it what the function returns is refused:
  /// 1 ms to 100 years. It shortens a longer lease, where that is kept alive.
  std::chrono::milliseconds max_runtime = std::chrono::hours{1};

  /// How long to wait while another caller runs the id. When that one fails, one of those who wait runs in its place.
  std::chrono::milliseconds patience{30'000};

  /// Kept in the record. The result is the function's: one given here is ErrorCode::invalid_argument.
  Attributes attributes = {};
};

/// What Scope::once returns.
struct OnceResult {
  /// fresh: this call ran the function, and its result stands. duplicate: another call's result stands. in_progress:
  /// there is no result yet, as another caller still holds the id after the patience, or this call has lost it.
  /// conflict, too_old: as Scope::begin decides; the function was not run. Another payload under an id in progress is
  /// a conflict at once.
  Verdict verdict = Verdict::fresh;

  /// Whether this call ran the function. With another verdict than fresh the id was lost meanwhile: the lease expired
  /// and another owner took the id, or an operator released it. The effect may then happen twice, and the result of
  /// this run was dropped.
  bool ran = false;

  /// The result that stands for the id, when the verdict is fresh or duplicate; otherwise empty.
  std::string result = {};

  Lsn lsn = {};  ///< The record's, as Marked::lsn; 0 when there is none.
};

}  // namespace oncelog
