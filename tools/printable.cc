#include "printable.h"

#include <iterator>

#include <fmt/format.h>

namespace oncelog::tool {

std::string printable(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    if (const auto byte = static_cast<unsigned char>(c); byte < ' ' || byte == 0x7F) {
      fmt::format_to(std::back_inserter(shown), "\\x{:02x}", byte);
    } else {
      shown += c;
    }
  }
  return shown;
}

}  // namespace oncelog::tool
