#pragma once

#include "settings.h"

namespace oncelog::bench {

/// A store with the default plan, all of whose ids come into one bucket, beside one that was planned for them: how it
/// grows, and each kind of look-up in both by turns.
void register_outgrown(const Settings& settings);
/// Lets go of the stores.
void unload_outgrown();

}  // namespace oncelog::bench
