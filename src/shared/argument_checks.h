#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

#include <oncelog/options.h>
#include <oncelog/record.h>

#include "base/exported.h"
#include "log/ring.h"

namespace oncelog::internal {

/// Throws Error::invalid_argument when an option is outside its documented range, whatever the store.
ONCELOG_INTERNAL void check_option_ranges(const Options& options);

/// Throws Error::invalid_argument unless the id has 1 to kMaxIdBytes bytes.
ONCELOG_INTERNAL void check_id(std::string_view id);
/// The same for the name of a scope, of 1 to kMaxScopeBytes.
ONCELOG_INTERNAL void check_scope_name(std::string_view name);
/// The same for the name of a lock.
ONCELOG_INTERNAL void check_lock_name(std::string_view name);

/// Throws Error::invalid_argument unless the attributes are within their limits. With a ring, a result must fit into
/// its reserve too.
ONCELOG_INTERNAL void check_attributes(const Attributes& attributes);
void check_attributes(const Attributes& attributes, const Ring& ring);
/// The same for a record that is to be imported; it is no note of a forgotten id, and not of a time before 1970.
ONCELOG_INTERNAL void check_import(const Record& record);
/// What a record says besides scope, id and time. The views are the record's.
ONCELOG_INTERNAL Attributes attributes_of(const Record& record);
ONCELOG_INTERNAL void check_correlation(std::string_view correlation);

/// Throws Error::invalid_argument unless a lease is within 1 ms and kMaxLease.
inline constexpr std::chrono::milliseconds kMaxLease = std::chrono::hours{24 * 365 * 100};
ONCELOG_INTERNAL void check_lease(std::chrono::milliseconds lease);

/// A duration as people write it: "1d12h".
ONCELOG_INTERNAL std::string in_words(std::chrono::milliseconds duration);

}  // namespace oncelog::internal
