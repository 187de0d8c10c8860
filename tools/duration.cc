#include "duration.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <limits>

#include <fmt/format.h>

#include <oncelog/error.h>

namespace oncelog::tool {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};

// Largest first: the order in which a duration names its parts.
constexpr std::array<Unit, 6> kUnits{
    {{"w", std::int64_t{7} * 86'400'000}, {"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

}  // namespace

std::optional<std::chrono::milliseconds> read_duration(std::string_view text) {
  std::int64_t total = 0;
  std::size_t next_unit = 0;
  std::string_view rest = text;
  do {
    std::int64_t count = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), count);
    // A count of "-0" is not below 0, and is none all the same.
    if (error != std::errc{} || rest.front() == '-') return std::nullopt;
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));

    const std::string_view name = rest.substr(0, rest.find_first_of("0123456789"));
    while (next_unit != kUnits.size() && kUnits[next_unit].name != name) ++next_unit;
    if (next_unit == kUnits.size()) return std::nullopt;
    const std::int64_t unit = kUnits[next_unit++].milliseconds;
    if (count > (kMost - total) / unit) return std::nullopt;
    total += count * unit;
    rest.remove_prefix(name.size());
  } while (!rest.empty());
  return std::chrono::milliseconds{total};
}

std::chrono::milliseconds parse_duration(std::string_view text, std::string_view what) {
  if (const auto duration = read_duration(text)) return *duration;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{}: '{}' is not a duration; write whole numbers of w, d, h, m, s and ms, the larger unit "
                          "first, for example 500ms, 90s, 1h30m or 7d",
                          what, text));
}

std::string format_duration(std::chrono::milliseconds duration) {
  std::string text;
  std::int64_t rest = duration.count();
  for (const Unit& unit : kUnits) {
    if (unit.name == "w" || rest < unit.milliseconds) continue;
    text += fmt::format("{}{}", rest / unit.milliseconds, unit.name);
    rest %= unit.milliseconds;
  }
  return text.empty() ? "0s" : text;
}

}  // namespace oncelog::tool
