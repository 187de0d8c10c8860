#pragma once

#include <string_view>
#include <vector>

#include <oncelog/c.h>

namespace oncelog::internal::c {

/// The ids of a batch, in whichever form they are given; the bytes are the caller's. Any thread. Errors:
/// invalid_argument, where they are in no form or contradict themselves.
std::vector<std::string_view> ids_of(const oncelog_ids* given);

}  // namespace oncelog::internal::c
