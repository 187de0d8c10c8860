#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace oncelog::tool {

/// The page's name, which is the command's with hyphens: "oncelog-topics-lint".
std::string page_name(const CLI::App& command);

/// The command's page, in mdoc. `date` as mdoc shows it: "December 1, 2026".
std::string page(const CLI::App& command, const std::string& date);

}  // namespace oncelog::tool
