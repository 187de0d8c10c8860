#pragma once

#include <string>

#include "settings.h"

namespace oncelog::bench {

/// Marks of several threads, or of as many processes, on one store, beside those of one: what many writers get
/// together.
void register_writers(const Settings& settings);

/// The benchmark's name; its counter `of_one` is their rate against that of one.
std::string writers_name(const Settings& settings, unsigned writers, bool processes, bool batches);

}  // namespace oncelog::bench
