#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "commands.h"

namespace oncelog::tool {

/// Adds to an empty `app` all that the command line of oncelog has: main() parses it, and the manual's pages and the
/// completion are made of it. `chosen` and `to_run` are those of commands.h.
void build_command_line(CLI::App& app, Run& chosen, const std::vector<std::string>& to_run);

}  // namespace oncelog::tool
