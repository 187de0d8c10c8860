#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <oncelog/error.h>
#include <oncelog/record.h>

#include "duration.h"
#include "store_arguments.h"

/// The options that subcommands have in common, and the types of their values. Each function adds options to a
/// subcommand before the arguments are parsed; the targets must outlive the parsing. A value that is none throws
/// oncelog::Error, invalid_argument, naming the option. One thread.
namespace oncelog::tool {

template <typename Target>
void add_duration(CLI::App& command, const std::string& name, Target& target, const std::string& help) {
  command
      .add_option_function<std::string>(
          name, [name, &target](const std::string& text) { target = parse_duration(text, name); }, help)
      ->type_name("DURATION");
}

template <typename Target>
void add_choice(CLI::App& command, const std::string& name, Target& target,
                const std::vector<std::pair<std::string, Target>>& choices, const std::string& help) {
  std::string names;
  for (const auto& [choice, value] : choices) names += (names.empty() ? "" : "|") + choice;
  command
      .add_option_function<std::string>(
          name,
          [name, names, choices, &target](const std::string& text) {
            const auto chosen = std::ranges::find(choices, text, &std::pair<std::string, Target>::first);
            if (chosen == choices.end()) {
              throw Error(ErrorCode::invalid_argument, fmt::format("{}: '{}' is none of {}", name, text, names));
            }
            target = chosen->second;
          },
          help)
      ->type_name(names);
}

void add_time(CLI::App& command, const std::string& name, std::optional<Time>& target, const std::string& help);

/// --store and --live-dir.
void add_store(CLI::App& command, StoreArguments& store);

/// --scope.
void add_scope(CLI::App& command, StoreArguments& store);

/// What a command that marks ids can say of it: --ack, and how a new store is made.
void add_marking(CLI::App& command, StoreArguments& store);

/// The positional ids.
void add_ids(CLI::App& command, std::vector<std::string>& ids);

}  // namespace oncelog::tool
