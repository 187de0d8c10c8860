#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <oncelog/record.h>

namespace oncelog::internal::remote {

/// PostgreSQL's binary format: integers most significant byte first, times in microseconds since 2000.

template <std::integral Int>
void append_int(std::string& out, Int value) {
  const auto bits = static_cast<std::make_unsigned_t<Int>>(value);
  for (unsigned i = sizeof bits; i-- > 0;) out += static_cast<char>(bits >> (8 * i) & 0xFF);
}

template <std::integral Int>
std::string int_bytes(Int value) {
  std::string out;
  append_int(out, value);
  return out;
}

/// `bytes` has as many as Int.
template <std::integral Int>
Int int_of(std::string_view bytes) {
  std::make_unsigned_t<Int> bits = 0;
  for (const char byte : bytes)
    bits = static_cast<std::make_unsigned_t<Int>>(bits << 8 | static_cast<std::uint8_t>(byte));
  return static_cast<Int>(bits);
}

inline constexpr std::chrono::microseconds kWireEpoch = std::chrono::seconds{946'684'800};

constexpr std::int64_t to_wire(Time time) {
  return (time.time_since_epoch() - kWireEpoch).count();
}
constexpr Time from_wire(std::int64_t time) {
  return Time{std::chrono::microseconds{time} + kWireEpoch};
}

}  // namespace oncelog::internal::remote
