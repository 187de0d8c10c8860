#pragma once

#include <string>

#include "settings.h"

namespace oncelog::bench {

/// How long single marks take while the flusher commits and buckets open, expire and are swept: quantiles and the
/// longest, at full speed and at a steady rate, and at that rate in a store that outgrows its plan; beside them the
/// same loop that only reads the clock, which shows what the machine itself takes away.
void register_stalls(const Settings& settings);

/// The benchmark's name; its counter `max_ms` is the longest stall.
std::string stall_name(Live live, bool full_speed);
std::string outgrown_stall_name(Live live);
std::string machine_stall_name(bool full_speed);

}  // namespace oncelog::bench
