#include "size.h"

#include <charconv>
#include <limits>

#include <fmt/format.h>

#include <oncelog/error.h>

namespace oncelog::tool {

std::uint64_t parse_size(std::string_view text, std::string_view what) {
  constexpr std::string_view kUnits = "KMGT";
  std::uint64_t size = 0;
  const char* const end = text.data() + text.size();
  const auto [number_end, error] = std::from_chars(text.data(), end, size);
  std::string_view unit(number_end, static_cast<std::size_t>(end - number_end));
  if (error == std::errc{}) {
    if (unit.empty()) return size;
    const std::size_t power = kUnits.find(unit.front());
    unit.remove_prefix(1);
    if (power != std::string_view::npos && (unit.empty() || unit == "iB")) {
      const auto bits = static_cast<unsigned>(10 * (power + 1));
      if (size <= std::numeric_limits<std::uint64_t>::max() >> bits) return size << bits;
    }
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{}: '{}' is not a size; write a whole number of bytes, or one with K, M, G or T for powers "
                          "of 1024, for example 64M",
                          what, text));
}

}  // namespace oncelog::tool
