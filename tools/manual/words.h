#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "help.h"

/// What the completion of each shell asks of the command line.
namespace oncelog::tool {

enum class ValueKind { none, choice, directory, file, other };

/// By the name that --help gives the value.
inline ValueKind value_kind(const CLI::Option& option) {
  if (!takes_value(option)) return ValueKind::none;
  const std::string type = option.get_type_name();
  if (type.find('|') != std::string::npos) return ValueKind::choice;
  if (type == "DIR" || type == "BACKUP") return ValueKind::directory;
  return type == "FILE" ? ValueKind::file : ValueKind::other;
}

/// The choices, with `between` in between.
inline std::string choices(const CLI::Option& option, char between) {
  std::string names = option.get_type_name();
  std::ranges::replace(names, '|', between);
  return names;
}

inline std::vector<const CLI::App*> subcommands_of(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App*) { return true; });
}

/// "--null" and "-z".
inline std::vector<std::string> spellings(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back('-' + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

inline std::vector<const CLI::Option*> options_of(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->nonpositional(); });
}

inline std::vector<const CLI::Option*> positionals_of(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

/// The command and all below it.
inline std::vector<const CLI::App*> tree_of(const CLI::App& command) {
  std::vector<const CLI::App*> all{&command};
  for (const CLI::App* subcommand : subcommands_of(command)) {
    for (const CLI::App* below : tree_of(*subcommand)) all.push_back(below);
  }
  return all;
}

/// In single quotes of a shell.
inline std::string single_quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      result += c;
    }
  }
  return result + '\'';
}

}  // namespace oncelog::tool
