#pragma once

#include <oncelog/c.h>

namespace oncelog::internal::c {

/// A new handle on the store in a directory or at an address. `options` may be null. Errors: those of Store::open and
/// remote::open; invalid_argument for an option that such a store does not have.
oncelog_store* open(const char* directory_or_address, const oncelog_options* options);

/// A new handle on a new store in memory. `options` and `clock` may be null. Errors: those of testing::open_in_memory.
oncelog_store* open_in_memory(const oncelog_options* options, const oncelog_clock* clock);

}  // namespace oncelog::internal::c
