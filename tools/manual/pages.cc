#include "pages.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "help.h"

namespace oncelog::tool {
namespace {

/// mdoc's lines should not be longer.
constexpr std::size_t kPageWidth = 76;

/// Characters that roff would take for its own. `hyphens`: whether each stands for the ASCII one, to be copied.
std::string escaped(std::string_view text, bool hyphens) {
  std::string result;
  for (const char c : text) {
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-' && hyphens) {
      result += "\\-";
    } else if (c == '"') {
      result += "\\(dq";
    } else {
      result += c;
    }
  }
  return result;
}

/// A line that must not be a request.
std::string guarded(std::string line) {
  if (line.starts_with('.') || line.starts_with('\'')) line.insert(0, "\\&");
  return line;
}

std::string each_line(std::string_view lines, std::string (*change)(std::string)) {
  std::string result;
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    result += change(std::string(lines.substr(0, end))) + '\n';
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  return result;
}

/// Text that flows. Each sentence begins a line, as mdoc wants it.
std::string flowing(std::string_view text) {
  std::string words;
  std::string lines;
  const auto end_sentence = [&] {
    lines += in_lines(words, kPageWidth, 0, 0);
    words.clear();
  };
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    words += (words.empty() ? "" : " ") + escaped(word, word.find("--") != std::string_view::npos || word == "-");
    if (word.ends_with('.') && !text.empty() && std::isupper(static_cast<unsigned char>(text.front())) != 0) {
      end_sentence();
    }
  }
  if (!words.empty()) end_sentence();
  return each_line(lines, guarded);
}

std::string literal(std::string_view lines) {
  const auto unindented = [](std::string line) {
    line.erase(0, line.find_first_not_of(' '));
    return guarded(escaped(line, true));
  };
  return ".Bd -literal -offset indent\n" + each_line(lines, unindented) + ".Ed\n";
}

/// What is before the colon in a description such as "...; exit 0 when all are, 1 when not", and what is after it.
std::pair<std::string, std::string> without_exit_codes(const std::string& description) {
  const std::size_t at = description.find("; exit ");
  if (at == std::string::npos) return {description, ""};
  return {description.substr(0, at), description.substr(at + std::string_view("; exit ").size())};
}

std::string in_quotes(std::string_view text) {
  return '"' + escaped(text, true) + '"';
}

/// "Fl z | Fl \-null Ar N".
std::string option_macros(const CLI::Option& option) {
  std::string macros;
  for (const std::string& name : option.get_snames())
    macros += fmt::format("{}Fl {}", macros.empty() ? "" : " , ", name);
  for (const std::string& name : option.get_lnames()) {
    macros += fmt::format("{}Fl {}", macros.empty() ? "" : " , ", escaped('-' + name, true));
  }
  const std::string value = value_name(option);
  if (!value.empty()) macros += " Ar " + in_quotes(value);
  return macros;
}

std::vector<const CLI::Option*> positionals(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->get_positional(); });
}

std::vector<const CLI::Option*> flags(const CLI::App& command) {
  return command.get_options([](const CLI::Option* option) { return option->nonpositional(); });
}

std::vector<const CLI::App*> subcommands(const CLI::App& command) {
  return command.get_subcommands([](const CLI::App*) { return true; });
}

/// "Ar id ...".
std::string positional_macros(const CLI::Option& option) {
  const bool many = option.get_expected_max() == CLI::detail::expected_max_vector_size;
  return "Ar " + in_quotes(option.get_name(true)) + (many ? " ..." : "");
}

std::string synopsis(const CLI::App& command) {
  std::string text = ".Sh SYNOPSIS\n.Nm " + in_quotes(full_name(command)) + '\n';
  for (const CLI::Option* option : flags(command)) {
    std::string macros = option_macros(*option);
    for (std::size_t at = 0; (at = macros.find(" , ", at)) != std::string::npos;) macros.replace(at, 3, " | ");
    text += (option->get_required() ? "." : ".Op ") + macros + '\n';
  }
  for (const CLI::Option* option : positionals(command)) {
    text += (option->get_required() ? "." : ".Op ") + positional_macros(*option) + '\n';
  }
  if (!subcommands(command).empty()) text += ".Ar subcommand\n";
  if (command.get_allow_extras()) text += ".Fl \\-\n.Ar command ...\n";
  return text;
}

std::string list_of_options(const CLI::App& command) {
  std::string text = ".Bl -tag -width Ds\n";
  for (const CLI::Option* option : positionals(command)) {
    text += ".It " + positional_macros(*option) + '\n' + flowing(explanation(*option));
  }
  for (const CLI::Option* option : flags(command)) {
    text += ".It " + option_macros(*option) + '\n' + flowing(explanation(*option));
  }
  return text + ".El\n";
}

std::string list_of_commands(const CLI::App& command) {
  std::string text;
  for (const CommandGroup& group : command_groups(command)) {
    text += ".Pp\n" + flowing(group.name + ':') + ".Bl -tag -width Ds\n";
    for (const CLI::App* subcommand : group.commands) {
      text += ".It Xr " + escaped(page_name(*subcommand), false) + " 1\n" + flowing(subcommand->get_description());
    }
    text += ".El\n";
  }
  return text;
}

std::string section_of(std::string_view heading) {
  if (heading == "Exit codes:") return "EXIT STATUS";
  if (heading == "Example:") return "EXAMPLES";
  std::string section(heading.substr(0, heading.size() - 1));
  std::ranges::transform(section, section.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return section;
}

/// The footer's parts, with `exit_codes` before the examples.
std::string rest_of_page(const CLI::App& command, const std::string& exit_codes) {
  std::string text;
  bool begins = false;  // A section.
  bool states_exit = false;
  const auto state_exit = [&] {
    if (std::exchange(states_exit, true)) return;
    text += ".Sh EXIT STATUS\n";
    text += exit_codes.empty() ? "0 when it is done, 2 on error.\nAll codes are listed in\n.Xr oncelog 1 .\n"
                               : flowing(exit_codes + '.');
  };
  for (const HelpPart& part : help_parts(command.get_footer())) {
    if (part.kind == HelpPart::Kind::heading) {
      const std::string section = section_of(part.text);
      if (section == "EXIT STATUS") states_exit = true;
      if (section == "EXAMPLES") state_exit();
      if (!text.ends_with(".Sh EXAMPLES\n")) text += ".Sh " + section + '\n';
      begins = true;
      continue;
    }
    if (!std::exchange(begins, false) && part.kind == HelpPart::Kind::text) text += ".Pp\n";
    text += part.kind == HelpPart::Kind::literal ? literal(part.text) : flowing(part.text);
  }
  state_exit();
  return text;
}

std::string see_also(const CLI::App& command) {
  std::vector<std::string> names;  // mandoc wants them sorted: the topmost first.
  for (const CLI::App* at = command.get_parent(); at != nullptr; at = at->get_parent()) {
    names.insert(names.begin(), page_name(*at));
  }
  std::string text = ".Sh SEE ALSO\n";
  for (const std::string& name : names) text += ".Xr " + name + " 1 ,\n";
  return text + ".Xr oncelog 3\n";
}

}  // namespace

std::string page_name(const CLI::App& command) {
  std::string name = full_name(command);
  std::ranges::replace(name, ' ', '-');
  return name;
}

std::string page(const CLI::App& command, const std::string& date) {
  const std::string name = page_name(command);
  std::string title = name;
  std::ranges::transform(title, title.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  const auto [description, exit_codes] = without_exit_codes(command.get_description());
  std::string named = description;
  if (named.ends_with('.')) named.pop_back();
  named.front() = static_cast<char>(std::tolower(static_cast<unsigned char>(named.front())));
  std::string text =
      fmt::format(".Dd {}\n.Dt {} 1\n.Os\n.Sh NAME\n.Nm {}\n.Nd {}\n", date, title, name, escaped(named, false));
  text += synopsis(command) + ".Sh DESCRIPTION\n";
  const std::string commands = list_of_commands(command);
  if (!commands.empty()) text += "The subcommands are:\n" + commands + ".Pp\n";
  text += "The arguments and options are:\n" + list_of_options(command);
  return text + rest_of_page(command, exit_codes) + see_also(command);
}

}  // namespace oncelog::tool
