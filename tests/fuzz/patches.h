#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "fuzz.h"

namespace oncelog::fuzzing {

/// Damages a file as the rest of an input says, up to its end: runs of up to 16 bytes put in place of others, words
/// added to, pages zeroed, copied over others or exchanged, the end cut off. So an input of some bytes reaches any
/// place in a large file.
inline void patch(Input& input, std::vector<std::byte>& file, std::size_t page_bytes = 4096) {
  while (!input.empty() && file.size() >= 2 * page_bytes) {
    const std::size_t pages = file.size() / page_bytes;
    const auto what = input.number<std::uint8_t>();
    const auto page = std::span(file).subspan(input.up_to(pages - 1) * page_bytes, page_bytes);
    switch (what % 8) {
      case 0:
        std::ranges::fill(page, std::byte{0});
        break;
      case 1:
        std::ranges::copy(std::span(file).subspan(input.up_to(pages - 1) * page_bytes, page_bytes), page.begin());
        break;
      case 2: {
        const auto other = std::span(file).subspan(input.up_to(pages - 1) * page_bytes, page_bytes);
        if (other.data() != page.data()) std::ranges::swap_ranges(page, other);
        break;
      }
      case 3:
        if (what == 3) file.resize(file.size() - input.up_to(file.size()));
        break;
      case 4: {
        const std::size_t at = input.up_to(page_bytes / 8 - 1) * 8;
        std::uint64_t word = 0;
        std::memcpy(&word, page.data() + at, sizeof word);
        word += static_cast<std::uint64_t>(input.number<std::int8_t>());
        std::memcpy(page.data() + at, &word, sizeof word);
        break;
      }
      default: {
        const std::size_t at = input.up_to(page_bytes - 16);
        const std::string_view bytes = input.text(1 + what / 8 % 16);
        std::memcpy(page.data() + at, bytes.data(), bytes.size());
      }
    }
  }
}

}  // namespace oncelog::fuzzing
