#pragma once

#include <cstdint>
#include <string_view>

namespace oncelog::tool {

/// A number of bytes as people write it: a whole number, with K, M, G or T (or KiB, ...) for powers of 1024. Error:
/// invalid_argument, saying how to write one. `what` names the option in it.
std::uint64_t parse_size(std::string_view text, std::string_view what);

}  // namespace oncelog::tool
