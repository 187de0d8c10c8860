#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <oncelog/record.h>

namespace oncelog {

/// Which records Store::scan visits.
struct ScanRange {
  std::optional<std::string> scope = std::nullopt;  ///< Only this scope's; all by default.
  std::optional<Time> since = std::nullopt;         ///< Processed at or after.
  std::optional<Time> until = std::nullopt;         ///< Processed before.
};

/// What Store::expire did.
struct Expired {
  std::uint64_t buckets = 0;  ///< Dropped, because their newest record is past the retention.
  std::uint64_t blocks = 0;   ///< Log blocks deleted; their space is reused by later flushes.
};

}  // namespace oncelog
