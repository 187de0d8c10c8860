#include "help.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <set>

#include <fmt/format.h>

namespace oncelog::tool {
namespace {

constexpr std::size_t kLeastWidth = 40;
constexpr std::size_t kMostWidth = 100;
constexpr std::size_t kUnknownWidth = 80;

std::vector<std::string_view> split(std::string_view text, char between) {
  std::vector<std::string_view> pieces;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(between, at), text.size());
    pieces.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return pieces;
}

/// Ordered by name: a set of pointers has another order in each process.
std::string names(const std::set<CLI::Option*>& options) {
  std::vector<std::string> sorted;
  for (const CLI::Option* option : options) sorted.push_back(option->get_name());
  std::ranges::sort(sorted);
  return CLI::detail::join(sorted, ", ");
}

}  // namespace

std::vector<HelpPart> help_parts(std::string_view footer) {
  using Kind = HelpPart::Kind;
  std::vector<HelpPart> parts;
  bool begins = true;  // A paragraph.
  for (const std::string_view line : split(footer, '\n')) {
    if (line.empty()) {
      begins = true;
      continue;
    }
    const Kind kind = line.front() == ' ' ? Kind::literal : begins && line.back() == ':' ? Kind::heading : Kind::text;
    if (begins || parts.empty() || parts.back().kind != kind) {
      parts.push_back({kind, std::string(line)});
    } else {
      parts.back().text += (kind == Kind::literal ? '\n' : ' ');
      parts.back().text += line;
    }
    begins = false;
  }
  return parts;
}

std::string in_lines(std::string_view text, std::size_t width, std::size_t at, std::size_t indent) {
  std::string lines;
  bool at_begin = true;  // Of a line.
  for (const std::string_view word : split(text, ' ')) {
    if (word.empty()) continue;
    if (!at_begin && at + 1 + word.size() > width) {
      lines += '\n' + std::string(indent, ' ');
      at = indent;
      at_begin = true;
    }
    if (!at_begin) {
      lines += ' ';
      ++at;
    }
    lines += word;
    at += word.size();
    at_begin = false;
  }
  return lines + '\n';
}

std::size_t help_width() {
  std::size_t width = 0;
  if (const char* const columns = std::getenv("COLUMNS")) {
    const std::string_view text(columns);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), width);
    if (error != std::errc() || end != text.data() + text.size()) width = 0;
  }
  winsize window{};
  if (width == 0 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0) width = window.ws_col;
  return width == 0 ? kUnknownWidth : std::clamp(width, kLeastWidth, kMostWidth);
}

std::string full_name(const CLI::App& command) {
  const CLI::App* const parent = command.get_parent();
  return parent == nullptr ? command.get_name() : full_name(*parent) + ' ' + command.get_name();
}

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() != 0;
}

std::string value_name(const CLI::Option& option) {
  if (!takes_value(option)) return "";
  const bool many = option.get_expected_max() == CLI::detail::expected_max_vector_size;
  return option.get_type_name() + (many ? " ..." : "");
}

std::string explanation(const CLI::Option& option) {
  std::string text = option.get_description();
  if (option.get_required()) text += " (required)";
  if (!option.get_default_str().empty()) text += fmt::format(" (unless given: {})", option.get_default_str());
  if (!option.get_needs().empty()) text += fmt::format(" (needs {})", names(option.get_needs()));
  if (!option.get_excludes().empty()) text += fmt::format(" (not with {})", names(option.get_excludes()));
  return text;
}

std::vector<CommandGroup> command_groups(const CLI::App& command) {
  std::vector<CommandGroup> groups;
  for (const CLI::App* subcommand : command.get_subcommands([](const CLI::App*) { return true; })) {
    auto group = std::ranges::find(groups, subcommand->get_group(), &CommandGroup::name);
    if (group == groups.end()) group = groups.insert(groups.end(), {subcommand->get_group(), {}});
    group->commands.push_back(subcommand);
  }
  return groups;
}

void add_example(CLI::App& command, std::string_view lines) {
  std::string footer = command.get_footer();
  footer += footer.empty() ? "Example:" : "\n\nExample:";
  for (const std::string_view line : split(lines, '\n')) footer += fmt::format("\n  {}", line);
  command.footer(footer);
}

HelpFormatter::HelpFormatter() : width_(help_width()) {
  column_width(std::min<std::size_t>(30, width_ / 3));
}

std::string HelpFormatter::two_columns(std::string_view name, std::string_view meaning) const {
  std::string line = fmt::format("  {}", name);
  if (line.size() + 1 > column_width_) {
    line += '\n' + std::string(column_width_, ' ');
  } else {
    line.resize(column_width_, ' ');
  }
  return line + in_lines(meaning, width_, column_width_, column_width_);
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  const std::string value = value_name(*option);
  std::string name = make_option_name(option, is_positional);
  if (!value.empty()) name += ' ' + value;
  return two_columns(name, explanation(*option));
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  return two_columns(command->get_name(), command->get_description());
}

std::string HelpFormatter::make_footer(const CLI::App* command) const {
  std::string footer;
  for (const HelpPart& part : help_parts(command->get_footer())) {
    const bool under_heading = footer.ends_with(":\n");
    if (!footer.empty() && !under_heading) footer += '\n';
    footer += part.kind == HelpPart::Kind::literal ? part.text + '\n' : in_lines(part.text, width_, 0, 0);
  }
  return footer;
}

std::string HelpFormatter::make_description(const CLI::App* command) const {
  return in_lines(command->get_description(), width_, 0, 0);
}

std::string HelpFormatter::make_usage(const CLI::App* command, std::string name) const {
  std::string usage = Formatter::make_usage(command, std::move(name));
  usage.pop_back();  // The end of its line.
  if (command->get_allow_extras()) usage += " -- COMMAND...";
  return in_lines(usage, width_, 0, 4);
}

}  // namespace oncelog::tool
