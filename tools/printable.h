#pragma once

#include <string>
#include <string_view>

namespace oncelog::tool {

/// The text with what could break a line, or command a terminal, as \xNN.
std::string printable(std::string_view text);

}  // namespace oncelog::tool
