#pragma once

#include <string>

#include "settings.h"

namespace oncelog::bench {

/// Rows of opening a store of which only data.mdb is left, or after a reboot.
void register_reopen(const Settings& settings);
/// Lets go of the stores.
void unload_reopen();

std::string reopen_name(const Settings& settings, Live live);
std::string reboot_name(const Settings& settings, Live live);

}  // namespace oncelog::bench
