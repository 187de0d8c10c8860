#pragma once

/// @file
/// Run once: what Scope::once takes and returns.

#include <chrono>
#include <string>

#include <oncelog/record.h>

namespace oncelog {

/// How Scope::once runs its function. Its limits are those of Scope::begin.
struct OnceOptions {
  /// How long the id is claimed for the function. One that runs longer may lose the id to another caller, and so run
  /// beside it: choose a lease that it cannot outlast.
  std::chrono::milliseconds lease{30'000};

  /// How long to wait while another caller runs the id. When that one fails, one of those who wait runs in its place.
  std::chrono::milliseconds patience{30'000};

  /// Kept in the record. The result is the function's: one given here is ErrorCode::invalid_argument.
  Attributes attributes = {};
};

/// What Scope::once returns.
struct OnceResult {
  /// fresh: this call ran the function, and its result stands. duplicate: another call's result stands. in_progress:
  /// there is no result yet, as another caller still holds the id after the patience, or this call has lost it.
  /// conflict, too_old: as Scope::begin decides; the function was not run. The payload is compared with records only:
  /// another payload under an id in progress waits, and is a conflict once the id is marked.
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
