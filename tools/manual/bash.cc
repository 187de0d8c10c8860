#include <string>
#include <vector>

#include <fmt/format.h>

#include "completion.h"
#include "words.h"

namespace oncelog::tool {
namespace {

constexpr const char* kBegin = R"(# shellcheck shell=bash
# Completion of oncelog for bash, made from the options of the command itself.

_oncelog_words() { mapfile -t COMPREPLY < <(compgen -W "$*" -- "$word"); }

_oncelog_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$1" -- "$word")
}

# Those of another command, which begins at this word.
_oncelog_command() {
  if declare -F _command_offset >/dev/null; then
    _command_offset "$1"
  else
    mapfile -t COMPREPLY < <(compgen -c -- "$word")
  fi
}

_oncelog() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=oncelog at rest=
  COMPREPLY=()
  for ((at = 1; at < COMP_CWORD; ++at)); do
    if [[ ${COMP_WORDS[at]} == -- ]]; then
      rest=$((at + 1))
      break
    fi
    case "$command ${COMP_WORDS[at]}" in
)";

constexpr const char* kMiddle = R"(        command+=" ${COMP_WORDS[at]}"
        ;;
    esac
  done
  # Bash has made three words of --option=value.
  if [[ $word == = ]]; then
    word=
  elif [[ $before == = ]]; then
    before=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $command in
)";

std::string action(const CLI::Option& option) {
  switch (value_kind(option)) {
    case ValueKind::choice:
      return "_oncelog_words " + choices(option, ' ');
    case ValueKind::directory:
      return "_oncelog_files -d";
    case ValueKind::file:
      return "_oncelog_files -f";
    case ValueKind::none:
    case ValueKind::other:
      break;
  }
  return "";
}

std::string values(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* option : options_of(command)) {
    if (value_kind(*option) == ValueKind::none) continue;
    const std::string completed = action(*option);
    text += fmt::format("        {}) {}return ;;\n", CLI::detail::join(spellings(*option), " | "),
                        completed.empty() ? "" : completed + "; ");
  }
  return text.empty() ? "" : "      [[ -n $rest ]] || case $before in\n" + text + "      esac\n";
}

std::string of_command(const CLI::App& command) {
  std::string text = fmt::format("    {})\n", single_quoted(full_name(command)));
  if (command.get_allow_extras()) text += "      [[ -z $rest ]] || { _oncelog_command \"$rest\"; return; }\n";
  text += values(command);
  std::vector<std::string> all;
  for (const CLI::Option* option : options_of(command)) {
    for (const std::string& name : spellings(*option)) all.push_back(name);
  }
  text += "      if [[ -z $rest && $word == -* ]]; then\n";
  text += fmt::format("        _oncelog_words {}\n        return\n      fi\n", CLI::detail::join(all, " "));
  std::vector<std::string> names;
  for (const CLI::App* subcommand : subcommands_of(command)) names.push_back(subcommand->get_name());
  if (!names.empty()) text += fmt::format("      _oncelog_words {}\n", CLI::detail::join(names, " "));
  for (const CLI::Option* option : positionals_of(command)) {
    if (const std::string completed = action(*option); !completed.empty()) {
      text += "      " + completed + '\n';
      break;
    }
  }
  return text + "      ;;\n";
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::vector<std::string> names;
  std::string commands;
  for (const CLI::App* command : tree_of(app)) {
    if (command != &app) names.push_back(single_quoted(full_name(*command)));
    commands += of_command(*command);
  }
  return fmt::format("{}      {})\n{}{}  esac\n}}\n\ncomplete -F _oncelog oncelog\n", kBegin,
                     CLI::detail::join(names, " | "), kMiddle, commands);
}

}  // namespace oncelog::tool
