#pragma once

#include "settings.h"

namespace oncelog::bench {

/// Marks of several threads, or of as many processes, on one store, beside those of one: what many writers get
/// together. Counter `of_one` is their rate against that of one.
void register_writers(const Settings& settings);

}  // namespace oncelog::bench
