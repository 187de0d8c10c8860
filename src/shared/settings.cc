#include "shared/settings.h"

#include <type_traits>

#include "shared/shared_state.h"

namespace oncelog::internal {

using Number = Catalog::Number;

Settings Settings::stored(const Catalog& catalog, const lmdb::Txn& txn) {
  Settings settings;
  const auto take = [&](auto& value, Number which, bool (*valid)(std::uint64_t)) {
    // 0 stands for a number that was never stored.
    const std::uint64_t number = catalog.number(txn, which);
    if (number != 0 && valid(number)) value = static_cast<std::remove_reference_t<decltype(value)>>(number);
  };
  take(settings.max_bytes, Number::max_bytes, SharedState::valid_max_bytes);
  take(settings.expected_ids, Number::expected_ids, valid_expected_ids);
  take(settings.ring_bytes, Number::ring_bytes, SharedState::valid_ring_bytes);
  take(settings.max_claims, Number::max_claims, SharedState::valid_max_claims);
  return settings;
}

Settings Settings::with(const Options& options) const {
  return {options.max_bytes.value_or(max_bytes), options.expected_ids.value_or(expected_ids),
          options.ring_bytes.value_or(ring_bytes), options.max_claims.value_or(max_claims)};
}

void Settings::put(lmdb::WriteTxn& txn, const Catalog& catalog, const Settings& before) const {
  const auto put = [&](Number which, std::uint64_t value, std::uint64_t stored) {
    if (value != stored) catalog.put_number(txn, which, value);
  };
  put(Number::max_bytes, max_bytes, before.max_bytes);
  put(Number::expected_ids, expected_ids, before.expected_ids);
  put(Number::ring_bytes, ring_bytes, before.ring_bytes);
  put(Number::max_claims, max_claims, before.max_claims);
}

}  // namespace oncelog::internal
