#pragma once

#include <string_view>

#include "base/exported.h"

namespace oncelog::internal {

/// Throws Error::invalid_argument unless the names of a user table and of an entry in it are within their limits.
ONCELOG_INTERNAL void check_entry(std::string_view table, std::string_view key);
/// The same for where a scan of a table begins, which may be empty.
ONCELOG_INTERNAL void check_first_entry(std::string_view table, std::string_view key);

}  // namespace oncelog::internal
