#include "timestamp.h"

#include <chrono>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

#include <oncelog/error.h>

#include "duration.h"

namespace oncelog::tool {
namespace {

/// Takes a timestamp's text apart from left to right.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }

  bool accept(std::string_view any_of) {
    if (rest_.empty() || any_of.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::optional<int> digits(std::size_t count) {
    if (rest_.size() < count) return std::nullopt;
    int value = 0;
    for (std::size_t i = 0; i != count; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return std::nullopt;
      value = 10 * value + (rest_[i] - '0');
    }
    rest_.remove_prefix(count);
    return value;
  }

  /// 1 to 6 decimals of a second.
  std::optional<std::chrono::microseconds> fraction() {
    std::int64_t value = 0;
    std::int64_t unit = 1'000'000;
    while (const std::optional<int> digit = unit > 1 ? digits(1) : std::nullopt) {
      unit /= 10;
      value += *digit * unit;
    }
    if (unit == 1'000'000) return std::nullopt;
    return std::chrono::microseconds{value};
  }

 private:
  std::string_view rest_;
};

std::optional<Time> parse_date(Reader& reader) {
  const auto year = reader.digits(4);
  if (!year || !reader.accept("-")) return std::nullopt;
  const auto month = reader.digits(2);
  if (!month || !reader.accept("-")) return std::nullopt;
  const auto day = reader.digits(2);
  if (!day) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{*year}, std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!date.ok()) return std::nullopt;
  return Time{std::chrono::sys_days{date}};
}

std::optional<std::chrono::microseconds> parse_time_of_day(Reader& reader) {
  const auto hour = reader.digits(2);
  if (!hour || *hour > 23 || !reader.accept(":")) return std::nullopt;
  const auto minute = reader.digits(2);
  if (!minute || *minute > 59) return std::nullopt;
  std::chrono::microseconds time = std::chrono::hours{*hour} + std::chrono::minutes{*minute};
  if (!reader.accept(":")) return time;
  const auto second = reader.digits(2);
  if (!second || *second > 59) return std::nullopt;
  time += std::chrono::seconds{*second};
  if (!reader.accept(".")) return time;
  const auto fraction = reader.fraction();
  if (!fraction) return std::nullopt;
  return time + *fraction;
}

std::optional<Time> parse_absolute(std::string_view text) {
  Reader reader(text);
  std::optional<Time> time = parse_date(reader);
  if (time && reader.accept("Tt ")) {
    const auto time_of_day = parse_time_of_day(reader);
    if (!time_of_day) return std::nullopt;
    *time += *time_of_day;
    reader.accept("Zz");
  }
  return reader.at_end() ? time : std::nullopt;
}

}  // namespace

Time parse_time(std::string_view text, Time now, std::string_view what) {
  if (text == "now") return now;
  if (const std::optional<Time> time = parse_absolute(text)) return *time;
  constexpr std::string_view kAgo = " ago";
  const std::string_view age_text = text.ends_with(kAgo) ? text.substr(0, text.size() - kAgo.size()) : text;
  if (const auto age = read_duration(age_text)) {
    const auto since_epoch = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
    return *age < since_epoch ? now - *age : Time{};
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{}: '{}' is not a time; write for example 2026-01-02, 2026-01-02T03:04:05Z (UTC), or 1h30m "
                          "for that long ago (units are w, d, h, m, s and ms)",
                          what, text));
}

std::string format_time(Time time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{time - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

}  // namespace oncelog::tool
