#pragma once

#include <string>
#include <string_view>

#include <oncelog/record.h>

namespace oncelog::tool {

/// A point in time as people and logs write it: "2026-01-02", "2026-01-02T03:04", "2026-01-02T03:04:05.123456Z" (always
/// UTC; a space may stand for the T), "now", or a duration before `now`: "2h", "1d12h ago". Error: invalid_argument,
/// saying how to write one. `what` names the option in it.
Time parse_time(std::string_view text, Time now, std::string_view what);

/// The time in ISO 8601, UTC, always with six decimals, so that text order is time order.
std::string format_time(Time time);

}  // namespace oncelog::tool
