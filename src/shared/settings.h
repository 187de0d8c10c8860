#pragma once

#include <array>
#include <cstdint>

#include <oncelog/options.h>

#include "lmdb/catalog.h"

namespace oncelog::internal {

/// What a store is set to, whoever opens it: the cap of data.mdb, and the sizes that its shared memory is rebuilt with.
/// Kept in the table `meta`, so that neither a process with other options nor one with none decides over what another
/// has set. A plain value; whoever stores it holds LMDB's write lock.
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

  /// What the store says. A number that is missing or cannot be (damage) is the default: a size that is not the one
  /// wanted is better than a store that does not open.
  static Settings stored(const Catalog& catalog, const lmdb::Txn& txn);
  /// These, but for what the options set.
  Settings with(const Options& options) const;
  /// Stores those that differ from `before`, which are the stored ones.
  void put(lmdb::WriteTxn& txn, const Catalog& catalog, const Settings& before) const;
};

}  // namespace oncelog::internal
