#pragma once

#include <string>

#include <CLI/CLI.hpp>

/// Scripts that complete subcommands, options, values of which there are few, and files, in three shells.
namespace oncelog::tool {

std::string bash_completion(const CLI::App& app);
std::string zsh_completion(const CLI::App& app);
std::string fish_completion(const CLI::App& app);

}  // namespace oncelog::tool
