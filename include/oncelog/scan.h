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

/// What Store::import did, in numbers of records.
struct Imported {
  std::uint64_t imported = 0;  ///< Are processed here now, since they were processed there.
  std::uint64_t known = 0;     ///< Were processed here already, and are left as they were.
  std::uint64_t claimed = 0;   ///< Are claimed here, and left to who processes them now. Import them again later.
  std::uint64_t expired = 0;   ///< Are past the retention of this store: left out, as they would be fresh.
  std::uint64_t redated = 0;   ///< Of those imported: lay in the future by this store's clock, and have its present.

  friend bool operator==(const Imported&, const Imported&) = default;
};

}  // namespace oncelog
