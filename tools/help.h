#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

/// What --help prints, and the parts of it of which the manual's pages and the completion are made as well, so that
/// they cannot differ. One thread.
namespace oncelog::tool {

/// A part of a footer. Paragraphs are separated by empty lines. The first line of one is a heading if it ends with a
/// colon; lines that begin with a blank are shown as they stand; all others flow, whatever their ends.
struct HelpPart {
  enum class Kind { heading, text, literal };
  Kind kind;
  std::string text;
};
std::vector<HelpPart> help_parts(std::string_view footer);

/// The words of `text` in lines of at most `width` columns. The first line begins at column `at`, the others are
/// indented by `indent`. A longer word has a line of its own.
std::string in_lines(std::string_view text, std::size_t width, std::size_t at, std::size_t indent);

/// The columns of the terminal by COLUMNS or by the terminal, from 40 to 100; 80 where neither says it.
std::size_t help_width();

/// "oncelog topics lint".
std::string full_name(const CLI::App& command);

/// Whether it is no flag.
bool takes_value(const CLI::Option& option);

/// The value's name and whether there may be more, "N ..."; empty for a flag.
std::string value_name(const CLI::Option& option);

/// The description, and what else must be known: whether it is required, the default, what it goes with.
std::string explanation(const CLI::Option& option);

/// The subcommands, by groups in the order in which they were added.
struct CommandGroup {
  std::string name;
  std::vector<const CLI::App*> commands;
};
std::vector<CommandGroup> command_groups(const CLI::App& command);

/// Appends to the command's footer an example, of one or more lines, that can be run as it stands.
void add_example(CLI::App& command, std::string_view lines);

/// Lays --help out for the terminal.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter();

  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;
  std::string make_footer(const CLI::App* command) const override;
  std::string make_description(const CLI::App* command) const override;
  std::string make_usage(const CLI::App* command, std::string name) const override;

 private:
  std::string two_columns(std::string_view name, std::string_view meaning) const;

  std::size_t width_;
};

}  // namespace oncelog::tool
