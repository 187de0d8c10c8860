#include "timestamp.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

#include <oncelog/error.h>

#include "duration.h"

namespace oncelog::tool {
namespace {

constexpr std::array<std::string_view, 12> kMonths{"jan", "feb", "mar", "apr", "may", "jun",
                                                   "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> kWeekdays{"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

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

  /// A word of ASCII letters, given in lower case.
  bool accept_word(std::string_view word) {
    if (rest_.size() < word.size()) return false;
    const auto same = [](char letter, char wanted) { return (letter | 0x20) == wanted; };
    if (!std::ranges::equal(rest_.substr(0, word.size()), word, same)) return false;
    rest_.remove_prefix(word.size());
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

  /// Any number of digits up to this value.
  std::optional<std::int64_t> number(std::int64_t most) {
    std::optional<std::int64_t> value;
    while (const std::optional<int> digit = digits(1)) {
      value = 10 * value.value_or(0) + *digit;
      if (*value > most) return std::nullopt;
    }
    return value;
  }

  /// The decimals of a second where a point or comma announces some, however many; what is finer than a microsecond
  /// is cut off. Nothing when the point stands alone.
  std::optional<std::chrono::microseconds> fraction() {
    if (!accept(".,")) return std::chrono::microseconds{0};
    std::int64_t value = 0;
    std::int64_t unit = 100'000;
    bool any = false;
    while (const std::optional<int> digit = digits(1)) {
      value += *digit * unit;
      unit /= 10;
      any = true;
    }
    if (!any) return std::nullopt;
    return std::chrono::microseconds{value};
  }

 private:
  std::string_view rest_;
};

std::optional<Time> make_date(int year, unsigned month, int day) {
  const std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{month},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return std::nullopt;
  return Time{std::chrono::sys_days{date}};
}

/// "2026-01-02".
std::optional<Time> parse_date(Reader& reader) {
  const auto year = reader.digits(4);
  if (!year || !reader.accept("-")) return std::nullopt;
  const auto month = reader.digits(2);
  if (!month || !reader.accept("-")) return std::nullopt;
  const auto day = reader.digits(2);
  if (!day) return std::nullopt;
  return make_date(*year, static_cast<unsigned>(*month), *day);
}

/// "03", "03:04", "03:04:05", "03:04:05.678".
std::optional<std::chrono::microseconds> parse_time_of_day(Reader& reader) {
  const auto hour = reader.digits(2);
  if (!hour || *hour > 23) return std::nullopt;
  std::chrono::microseconds time = std::chrono::hours{*hour};
  if (!reader.accept(":")) return time;
  const auto minute = reader.digits(2);
  if (!minute || *minute > 59) return std::nullopt;
  time += std::chrono::minutes{*minute};
  if (!reader.accept(":")) return time;
  const auto second = reader.digits(2);
  if (!second || *second > 60) return std::nullopt;  // 60: a leap second.
  const auto fraction = reader.fraction();
  if (!fraction) return std::nullopt;
  return time + std::chrono::seconds{*second} + *fraction;
}

/// What is to be added to a local time: nothing for "Z", "UTC" or no offset at all, -2 h for "+02:00", "+0200", "+02".
std::optional<std::chrono::minutes> parse_offset(Reader& reader) {
  if (reader.at_end()) return std::chrono::minutes{0};
  reader.accept(" ");
  if (reader.accept_word("utc") || reader.accept_word("gmt") || reader.accept_word("z")) return std::chrono::minutes{0};
  const bool ahead = reader.accept("+");
  if (!ahead && !reader.accept("-")) return std::nullopt;
  const auto hours = reader.digits(2);
  if (!hours || *hours > 23) return std::nullopt;
  std::chrono::minutes offset = std::chrono::hours{*hours};
  if (const bool colon = reader.accept(":"); colon || !reader.at_end()) {
    const auto minutes = reader.digits(2);
    if (!minutes || *minutes > 59) return std::nullopt;
    offset += std::chrono::minutes{*minutes};
  }
  return ahead ? -offset : offset;
}

/// RFC 3339 and what resembles it.
std::optional<Time> parse_iso(Reader reader) {
  std::optional<Time> time = parse_date(reader);
  if (!time || reader.at_end()) return time;
  if (!reader.accept("Tt ")) return std::nullopt;
  const auto time_of_day = parse_time_of_day(reader);
  const auto offset = time_of_day ? parse_offset(reader) : std::nullopt;
  if (!offset || !reader.at_end()) return std::nullopt;
  return *time + *time_of_day + *offset;
}

/// One of the three-letter names, as its place among them.
template <std::size_t N>
std::optional<unsigned> parse_name(Reader& reader, const std::array<std::string_view, N>& names) {
  const auto name = std::ranges::find_if(names, [&](std::string_view one) { return reader.accept_word(one); });
  if (name == names.end()) return std::nullopt;
  return static_cast<unsigned>(name - names.begin());
}

/// What `date -R` prints: "Fri, 02 Jan 2026 03:04:05 +0000".
std::optional<Time> parse_mail_date(Reader reader) {
  if (!parse_name(reader, kWeekdays) || !reader.accept(",") || !reader.accept(" ")) return std::nullopt;
  const auto day = reader.digits(2);
  if (!day || !reader.accept(" ")) return std::nullopt;
  const auto month = parse_name(reader, kMonths);
  if (!month || !reader.accept(" ")) return std::nullopt;
  const auto year = reader.digits(4);
  if (!year || !reader.accept(" ")) return std::nullopt;
  const auto time = make_date(*year, *month + 1, *day);
  const auto time_of_day = time ? parse_time_of_day(reader) : std::nullopt;
  const auto offset = time_of_day ? parse_offset(reader) : std::nullopt;
  if (!offset || !reader.at_end()) return std::nullopt;
  return *time + *time_of_day + *offset;
}

/// What `date -u` prints in the C locale: "Fri Jan  2 03:04:05 UTC 2026". The names of other time zones are ambiguous.
std::optional<Time> parse_plain_date(Reader reader) {
  if (!parse_name(reader, kWeekdays) || !reader.accept(" ")) return std::nullopt;
  const auto month = parse_name(reader, kMonths);
  if (!month || !reader.accept(" ")) return std::nullopt;
  const auto day = reader.digits(reader.accept(" ") ? 1 : 2);
  if (!day || !reader.accept(" ")) return std::nullopt;
  const auto time_of_day = parse_time_of_day(reader);
  if (!time_of_day || !reader.accept(" ")) return std::nullopt;
  if (!(reader.accept_word("utc") || reader.accept_word("gmt")) || !reader.accept(" ")) return std::nullopt;
  const auto year = reader.digits(4);
  const auto time = year ? make_date(*year, *month + 1, *day) : std::nullopt;
  if (!time || !reader.at_end()) return std::nullopt;
  return *time + *time_of_day;
}

/// "@1700000000.5": seconds since 1970.
std::optional<Time> parse_epoch(Reader reader) {
  constexpr std::int64_t kYear10000 = 253'402'300'800;
  if (!reader.accept("@")) return std::nullopt;
  const bool negative = reader.accept("-");
  const auto seconds = reader.number(kYear10000);
  const auto fraction = seconds ? reader.fraction() : std::nullopt;
  if (!fraction || !reader.at_end()) return std::nullopt;
  const std::chrono::microseconds time = std::chrono::seconds{*seconds} + *fraction;
  return Time{negative ? -time : time};
}

std::optional<Time> parse_absolute(std::string_view text) {
  const Reader reader(text);
  if (const auto time = parse_iso(reader)) return time;
  if (const auto time = parse_epoch(reader)) return time;
  if (const auto time = parse_mail_date(reader)) return time;
  return parse_plain_date(reader);
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
              fmt::format("{}: '{}' is not a time; write for example 2026-01-02, 2026-01-02T03:04:05Z, "
                          "2026-01-02T03:04:05+02:00, @1767323045, or 1h30m for that long ago (units are w, d, h, m, s "
                          "and ms)",
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
