#pragma once

#include <array>
#include <cstdint>

#include <oncelog/options.h>

#include "lmdb/catalog.h"

namespace oncelog::internal {

/// What a store is set to, for all who open it: the cap of data.mdb, and the sizes with which its shared memory is
/// rebuilt. Kept in the table `meta`, so that a process with other options, or with none, does not undo what another
/// has set. A plain value. put() is called under LMDB's write lock.
struct Settings {
  static constexpr std::uint64_t kMaxExpectedIds = std::uint64_t{1} << 36;

  static constexpr std::array kNumbers{Catalog::Number::max_bytes, Catalog::Number::expected_ids,
                                       Catalog::Number::ring_bytes, Catalog::Number::max_claims};

  static bool valid_expected_ids(std::uint64_t ids) { return ids != 0 && ids <= kMaxExpectedIds; }

  std::uint64_t max_bytes = 0;
  std::uint64_t expected_ids = kDefaultExpectedIds;
  std::uint64_t ring_bytes = kDefaultRingBytes;
  std::uint32_t max_claims = kDefaultMaxClaims;

  bool operator==(const Settings&) const = default;

  /// The stored settings. A number that is missing, or damaged to an impossible value, is the default: an unwanted size
  /// is better than a store that does not open.
  static Settings stored(const Catalog& catalog, const lmdb::Txn& txn);
  /// These settings, overruled by those that the options give.
  Settings with(const Options& options) const;
  /// Stores the settings that differ from `before`, which are the stored ones.
  void put(lmdb::WriteTxn& txn, const Catalog& catalog, const Settings& before) const;
};

}  // namespace oncelog::internal
