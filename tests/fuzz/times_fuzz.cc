#include <time.h>

#include <array>
#include <chrono>
#include <limits>
#include <optional>
#include <string>

#include <oncelog/error.h>

#include "duration.h"
#include "fuzz.h"
#include "timestamp.h"

using namespace oncelog;
using namespace oncelog::tool;
using oncelog::fuzzing::Input;
using oncelog::fuzzing::require;

namespace {

/// The grammar again, in the plainest words: each unit at most once, the larger first, each with a number before it.
std::optional<std::int64_t> naive_duration(std::string_view text) {
  struct Unit {
    std::string_view name;
    std::int64_t ms;
  };
  constexpr std::array<Unit, 6> kUnits{
      {{"w", 604'800'000}, {"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
  std::int64_t total = 0;
  bool any = false;
  for (const Unit& unit : kUnits) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const std::size_t name_end = std::min(text.find_first_of("0123456789", digits), text.size());
    if (digits == 0 || text.substr(digits, name_end - digits) != unit.name) continue;
    std::int64_t count = 0;
    for (const char digit : text.substr(0, digits)) {
      if (__builtin_mul_overflow(count, 10, &count) || __builtin_add_overflow(count, digit - '0', &count)) {
        return std::nullopt;
      }
    }
    std::int64_t ms = 0;
    if (__builtin_mul_overflow(count, unit.ms, &ms) || __builtin_add_overflow(total, ms, &total)) return std::nullopt;
    text.remove_prefix(name_end);
    any = true;
  }
  return any && text.empty() ? std::optional(total) : std::nullopt;
}

void check_duration(std::string_view text) {
  const auto read = read_duration(text);
  const auto naive = naive_duration(text);
  require(read.has_value() == naive.has_value(), "a duration is what the grammar says");
  if (!read) return;
  require(read->count() == *naive, "a duration is the sum of its parts");
  const std::string written = format_duration(*read);
  require(read_duration(written) == *read, "a written duration is read as the same");
  require(format_duration(*read_duration(written)) == written, "there is one way to write a duration");
}

/// "2026-01-02T03:04:05Z" and nothing else, by the C library.
std::optional<std::int64_t> naive_seconds(const std::string& text) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:ddZ";
  if (text.size() != kShape.size()) return std::nullopt;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    if (kShape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != kShape[i]) return std::nullopt;
  }
  tm parts{};
  parts.tm_year = std::stoi(text.substr(0, 4)) - 1900;
  parts.tm_mon = std::stoi(text.substr(5, 2)) - 1;
  parts.tm_mday = std::stoi(text.substr(8, 2));
  parts.tm_hour = std::stoi(text.substr(11, 2));
  parts.tm_min = std::stoi(text.substr(14, 2));
  parts.tm_sec = std::stoi(text.substr(17, 2));
  const tm wanted = parts;
  const std::int64_t seconds = ::timegm(&parts);
  // A date or time that there is not comes back as another one.
  const bool real = parts.tm_mon == wanted.tm_mon && parts.tm_mday == wanted.tm_mday &&
                    parts.tm_hour == wanted.tm_hour && parts.tm_min == wanted.tm_min && parts.tm_sec == wanted.tm_sec;
  return real ? std::optional(seconds) : std::nullopt;
}

void check_time(const std::string& text) {
  const Time now{std::chrono::seconds{1'800'000'000}};
  std::optional<Time> read;
  try {
    read = parse_time(text, now, "--since");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_argument, "what is no time is an invalid argument");
  }
  if (const auto seconds = naive_seconds(text)) {
    require(read && *read == Time{std::chrono::seconds{*seconds}}, "a time in UTC is what the C library says");
  }
  if (!read) return;
  require(text.empty() || text.find('\0') == std::string::npos, "a time holds no NUL");
  constexpr std::chrono::sys_days kFirst{std::chrono::year{0} / 1 / 1};
  constexpr std::chrono::sys_days kEnd{std::chrono::year{10'000} / 1 / 1};
  if (*read < kFirst || *read >= kEnd) return;
  const std::string written = format_time(*read);
  require(written.size() == std::string_view("2026-01-02T03:04:05.123456Z").size(), "times have one length");
  require(parse_time(written, now, "--since") == *read, "a written time is read as the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 200) return 0;
  Input input(data, size);
  if (input.number<std::uint8_t>() % 4 == 0) {
    // The C library's form, of any six numbers.
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%04u-%02u-%02uT%02u:%02u:%02uZ", input.number<std::uint16_t>() % 10'000U,
                  input.number<std::uint8_t>() % 16U, input.number<std::uint8_t>() % 34U,
                  input.number<std::uint8_t>() % 26U, input.number<std::uint8_t>() % 64U,
                  input.number<std::uint8_t>() % 64U);
    check_time(text.data());
    return 0;
  }
  const auto rest = input.text(size);
  check_duration(rest);
  check_time(std::string(rest));
  // Any duration at all.
  Input again(data, size);
  const auto ms = static_cast<std::int64_t>(again.number<std::uint64_t>() >> 1);
  check_duration(format_duration(std::chrono::milliseconds{ms}));
  return 0;
}
