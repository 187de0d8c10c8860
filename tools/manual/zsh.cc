#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "completion.h"
#include "words.h"

namespace oncelog::tool {
namespace {

/// In a specification of _arguments these end its parts.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string function_name(const CLI::App& command) {
  std::string name = '_' + full_name(command);
  std::ranges::replace(name, ' ', '_');
  std::ranges::replace(name, '-', '_');
  return name;
}

std::string action(const CLI::Option& option) {
  switch (value_kind(option)) {
    case ValueKind::choice:
      return '(' + choices(option, ' ') + ')';
    case ValueKind::directory:
      return "_directories";
    case ValueKind::file:
      return "_files";
    case ValueKind::none:
    case ValueKind::other:
      break;
  }
  return " ";
}

/// A line for each spelling; those of one option exclude each other, unless it may be repeated.
std::string specification(const CLI::Option& option) {
  const std::vector<std::string> names = spellings(option);
  const bool repeats = option.get_expected_max() == CLI::detail::expected_max_vector_size ||
                       option.get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
  std::string text;
  for (const std::string& name : names) {
    const bool takes = value_kind(option) != ValueKind::none;
    std::string one = repeats && takes   ? "*"
                      : names.size() > 1 ? fmt::format("({})", CLI::detail::join(names, " "))
                                         : "";
    one += name + (takes && name.starts_with("--") ? "=" : "") + '[' + escaped(explanation(option)) + ']';
    if (takes) one += fmt::format(":{}:{}", escaped(option.get_type_name()), action(option));
    text += " \\\n    " + single_quoted(one);
  }
  return text;
}

std::string positional(const CLI::Option& option) {
  const bool many = option.get_expected_max() == CLI::detail::expected_max_vector_size;
  return " \\\n    " +
         single_quoted(fmt::format("{}:{}:{}", many ? "*" : "", escaped(option.get_name(true)), action(option)));
}

std::string of_command(const CLI::App& command) {
  const auto subcommands = subcommands_of(command);
  std::string text = fmt::format("{}() {{\n", function_name(command));
  if (!subcommands.empty()) text += "  local context state state_descr line\n  local -A opt_args\n";
  text += subcommands.empty() ? "  _arguments -s -S" : "  _arguments -C";
  for (const CLI::Option* option : options_of(command)) text += specification(*option);
  for (const CLI::Option* option : positionals_of(command)) {
    // One of which nothing is known is only there to be counted: zsh would show its name instead of inserting an
    // option.
    if (value_kind(*option) != ValueKind::other || command.get_allow_extras()) text += positional(*option);
  }
  if (command.get_allow_extras()) text += " \\\n    '*:::command:_normal'";
  if (subcommands.empty()) return text + "\n}\n\n";
  text += " \\\n    '1:subcommand:->subcommand' \\\n    '*::argument:->argument'\n  case $state in\n    subcommand)\n";
  text += "      local -a subcommands=(\n";
  for (const CLI::App* subcommand : subcommands) {
    text += fmt::format("        {}\n",
                        single_quoted(subcommand->get_name() + ':' + escaped(subcommand->get_description())));
  }
  text += "      )\n      _describe subcommand subcommands\n      ;;\n    argument)\n      case $line[1] in\n";
  for (const CLI::App* subcommand : subcommands) {
    text += fmt::format("        {}) {} ;;\n", subcommand->get_name(), function_name(*subcommand));
  }
  return text + "      esac\n      ;;\n  esac\n}\n\n";
}

}  // namespace

std::string zsh_completion(const CLI::App& app) {
  std::string text =
      "#compdef oncelog\n# Completion of oncelog for zsh, made from the options of the command itself.\n\n";
  for (const CLI::App* command : tree_of(app)) text += of_command(*command);
  return text + "_oncelog \"$@\"\n";
}

}  // namespace oncelog::tool
