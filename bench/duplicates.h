#pragma once

#include "settings.h"

namespace oncelog::bench {

/// Known ids, of all and of the newest ones, asked of a store and of a std::unordered_set<std::string> by turns, and
/// random reads of DRAM between them.
void register_duplicates(const Settings& settings);
void unload_duplicates();

}  // namespace oncelog::bench
