#include <string>

#include <fmt/format.h>

#include "completion.h"
#include "words.h"

namespace oncelog::tool {
namespace {

constexpr const char* kBegin = R"(# Completion of oncelog for fish, made from the options of the command itself.

# Whether the words so far are these and no more.
function __oncelog_is
    set -l words (commandline -opc)
    test (count $words) -eq (math (count $argv) + 1); and test "$words[2..-1]" = "$argv"
end

# Whether the words so far begin with these, and options may follow.
function __oncelog_in
    set -l words (commandline -opc)
    set -l last (math (count $argv) + 1)
    test (count $words) -ge $last; and test "$words[2..$last]" = "$argv"; and not contains -- -- $words
end

# Whether these run a command after --, and it has begun.
function __oncelog_runs
    set -l words (commandline -opc)
    set -l last (math (count $argv) + 1)
    test (count $words) -ge $last; and test "$words[2..$last]" = "$argv"; and contains -- -- $words
end

# Of the command after --.
function __oncelog_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    set -l own $words[(math $at + 1)..-1]
    test (count $words) -gt $at; or set own
    complete -C (string join -- ' ' (string escape -- $own) (commandline -ct))
end

complete -c oncelog -f
)";

std::string action(const CLI::Option& option) {
  switch (value_kind(option)) {
    case ValueKind::none:
      return "";
    case ValueKind::choice:
      return " -x -a " + single_quoted(choices(option, ' '));
    case ValueKind::directory:
      return " -x -a '(__fish_complete_directories)'";
    case ValueKind::file:
      return " -r -F";
    case ValueKind::other:
      break;
  }
  return " -x";
}

/// In the single quotes of fish, which knows two escapes.
std::string in_fish(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') result += '\\';
    result += c;
  }
  return result + '\'';
}

/// The words of the path below oncelog: " topics lint".
std::string path(const CLI::App& command) {
  return full_name(command).substr(std::string_view("oncelog").size());
}

std::string of_command(const CLI::App& command) {
  std::string text;
  const auto line = [&](const char* condition, const CLI::App& of, const std::string& rest) {
    text += fmt::format("complete -c oncelog -n '{}{}'{}\n", condition, path(of), rest);
  };
  const bool is_leaf = subcommands_of(command).empty();
  text += '\n';
  for (const CLI::App* subcommand : subcommands_of(command)) {
    line("__oncelog_is", command,
         fmt::format(" -a {} -d {}", subcommand->get_name(), in_fish(subcommand->get_description())));
  }
  for (const CLI::Option* option : options_of(command)) {
    std::string rest;
    for (const std::string& name : option->get_snames()) rest += " -s " + name;
    for (const std::string& name : option->get_lnames()) rest += " -l " + name;
    rest += action(*option) + " -d " + in_fish(explanation(*option));
    line(is_leaf ? "__oncelog_in" : "__oncelog_is", command, rest);
  }
  for (const CLI::Option* option : positionals_of(command)) {
    const ValueKind kind = value_kind(*option);
    if (kind == ValueKind::directory || kind == ValueKind::file) {
      line("__oncelog_in", command, kind == ValueKind::file ? " -F" : action(*option));
      break;
    }
  }
  if (command.get_allow_extras()) {
    line("__oncelog_runs", command, " -x -a '(__oncelog_command)'");
  }
  return text;
}

}  // namespace

std::string fish_completion(const CLI::App& app) {
  std::string text = kBegin;
  for (const CLI::App* command : tree_of(app)) text += of_command(*command);
  return text;
}

}  // namespace oncelog::tool
