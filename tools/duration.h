#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace oncelog::tool {

/// What parse_duration takes, or nothing.
std::optional<std::chrono::milliseconds> read_duration(std::string_view text);

/// A duration as people write it: whole numbers with units ms, s, m, h, d, w, the larger unit first ("24h", "1h30m",
/// "500ms"). Error: invalid_argument, saying how to write one. `what` names the option in it.
std::chrono::milliseconds parse_duration(std::string_view text, std::string_view what);

/// The shortest such text that stands for the duration exactly: "24h" is "1d".
std::string format_duration(std::chrono::milliseconds duration);

}  // namespace oncelog::tool
