#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <oncelog/error.h>
#include <oncelog/record.h>

#include "commands.h"
#include "duration.h"
#include "id_batches.h"
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

/// --store, and what Options says of opening one that is there. `by_root`: what root's command does with a store of
/// another user without --allow-foreign-owner.
void add_store(CLI::App& command, StoreArguments& store, std::string_view by_root = "the command goes on as that user");

/// --scope.
void add_scope(CLI::App& command, StoreArguments& store);

/// What a command that may make a store can say of the new one, and of its own writing to it.
void add_making(CLI::App& command, StoreArguments& store);

/// --ack.
void add_ack(CLI::App& command, StoreArguments& store);

/// --null.
void add_null(CLI::App& command, char& line_end, const std::string& help);

/// The positional ids, and --null.
void add_ids(CLI::App& command, IdArguments& ids);

/// Lets `chosen` run the command with its options when the arguments choose it.
template <typename Options>
void run_when_chosen(CLI::App& command, Run& chosen, const std::shared_ptr<Options>& options,
                     int (*run)(const Options&)) {
  command.callback([&chosen, options, run] { chosen = [options, run] { return run(*options); }; });
}

/// The error's sentence, with the options that it advises by the names that they have on the command line: --map-bytes
/// for map_bytes.
std::string in_flags(const Error& error);

/// The first id among the arguments that CLI11 would take apart, because it stands in brackets; or null.
const char* list_of_ids(int argc, const char* const* argv);

}  // namespace oncelog::tool
