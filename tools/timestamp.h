#pragma once

#include <string>
#include <string_view>

#include <oncelog/record.h>

namespace oncelog::tool {

/// A point in time as people, logs and date(1) write it: RFC 3339, with a fraction of any length (of which microseconds
/// count), an offset from UTC ("Z", "+02:00", "+0200", "+02", "UTC"; UTC when there is none), a space for the T, in
/// lower case, without seconds, minutes or the whole time of day; "Fri, 02 Jan 2026 03:04:05 +0000";
/// "Fri Jan  2 03:04:05 UTC 2026"; seconds since 1970 ("@1767323045.5"); "now"; or a duration before `now`: "2h",
/// "1d12h ago". Error: invalid_argument, saying how to write one. `what` names the option in it.
Time parse_time(std::string_view text, Time now, std::string_view what);

/// The time in ISO 8601, UTC, always with six decimals, so that text order is time order.
std::string format_time(Time time);

}  // namespace oncelog::tool
