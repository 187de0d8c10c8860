#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <oncelog/error.h>

#include "arguments.h"
#include "check.h"
#include "commands.h"
#include "filter.h"
#include "forget.h"
#include "help.h"
#include "mark.h"
#include "release.h"

/// The commands that take ids.
namespace oncelog::tool {
namespace {

std::optional<char> parse_delimiter(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text == "\\t") return '\t';
  if (text.size() == 1) return text.front();
  throw Error(ErrorCode::invalid_argument,
              fmt::format("--delimiter: '{}' is not one character; write for example ',' or '\\t'", text));
}

/// The filter's options, and those that say where its ids are.
struct FilterArguments {
  FilterOptions options;
  std::vector<unsigned> fields;
  std::string delimiter;
  bool csv = false;
  std::vector<std::string> json_pointers;

  /// Says by the latter in `options` how lines end and what their ids are.
  void set_source() {
    if (!json_pointers.empty()) {
      options.id = JsonPointers{json_pointers};
    } else if (!fields.empty()) {
      const std::optional<char> between = parse_delimiter(delimiter);
      if (csv) {
        if (between && std::string_view("\"\r\n").find(*between) != std::string_view::npos) {
          throw Error(ErrorCode::invalid_argument, "--delimiter: a quote or a line's end cannot be between CSV fields");
        }
        options.lines.csv_delimiter = between.value_or(',');
      }
      options.id = Fields{fields, between, csv};
    }
  }
};

constexpr const char* kFilterFooter =
    "Ids are claimed, their lines written, and then marked, up to 1024 at a time. So no line is lost, whatever ends\n"
    "the run; after SIGKILL or an error those that were written and not marked yet are passed again by the next "
    "one.\n"
    "What a power failure leaves of a file that is written to is the system's affair, unless --ack disk has each "
    "batch of\n"
    "lines on disk before it is marked.\n"
    "SIGINT, SIGTERM and SIGHUP end the run once what was read is written and marked; while the store is opened or\n"
    "closed, and when they come a second time, at once. An id that another filter has in hand is waited for.\n"
    "\n"
    "A whole line is always an id: where it is empty or longer than 1024 bytes, its length and 128-bit hash stand "
    "in\n"
    "for it. A field or JSON value of that size is none.\n"
    "\n"
    "A JSON value's id is the text that a person would ask for: of a string its characters, of a number its value "
    "in\n"
    "plain decimals, so that 7, 7.0, 70e-1 and the string \"7\", which some writers make of it, are one id, and all\n"
    "digits of large numbers count; true and false are ids too. Null, objects and arrays are none. A line that is "
    "not\n"
    "exactly one JSON text (RFC 8259, in UTF-8) has no id. Of a key that is there twice, the last one counts.\n"
    "\n"
    "Several --field, or several --json-pointer, make one id of all those values, as netstrings: order-17 and 2 are\n"
    "\"8:order-17,1:2,\". Where one of them is missing, the line has no id.\n"
    "\n"
    "With --csv a newline in quotes does not end the line; a quote that is never closed takes all the rest with it,\n"
    "which then has no id.\n"
    "\n"
    "A regular file that is written to has whole lines only: one that ended without a newline gets it first, and\n"
    "when the disk is full, what was written of the lines in hand is taken back.\n"
    "\n"
    "A line of progress is shown when standard error is a terminal and standard output is not.";

/// The footer of commands that do something to ids.
std::string ids_footer(std::string_view done, std::string_view more) {
  return fmt::format(
      "For an id that is longer than 1024 bytes its length and 128-bit hash stand in, as in filter. An empty id\n"
      "is an error: of arguments nothing is done then, of lines those before it are. Among other arguments, - is an "
      "id.\n"
      "\n"
      "SIGINT, SIGTERM and SIGHUP end the run once what was read is {}; while the store is opened or closed,\n"
      "and when they come a second time, at once.{}",
      done, more);
}

/// A command that does one thing to each id of a scope.
void add_on_ids(CLI::App& app, Run& chosen, const char* name, const char* what, int (*run)(const IdsOptions&),
                const std::string& footer, const char* example) {
  const auto options = std::make_shared<IdsOptions>();
  CLI::App& command = *app.add_subcommand(name, what);
  add_store(command, options->store);
  add_scope(command, options->store);
  add_ids(command, options->ids);
  command.footer(footer);
  add_example(command, example);
  run_when_chosen(command, chosen, options, run);
}

}  // namespace

void add_filter(CLI::App& app, Run& chosen) {
  const auto arguments = std::make_shared<FilterArguments>();
  CLI::App& command = *app.add_subcommand("filter",
                                          "pass on only the first line of each id, from standard input to "
                                          "standard output, across runs and processes");
  FilterOptions& options = arguments->options;
  add_store(command, options.store);
  add_scope(command, options.store);
  add_ack(command, options.store);
  add_making(command, options.store);
  CLI::Option* const field =
      command.add_option("--field", arguments->fields, "the id is the line's N-th field, from 1")
          ->type_name("N")
          ->allow_extra_args(false);
  command.add_option("--delimiter", arguments->delimiter, "the character between fields; runs of blanks by default")
      ->needs(field)
      ->type_name("C");
  CLI::Option* const csv =
      command
          .add_flag("--csv", arguments->csv,
                    "fields are those of RFC 4180: between commas, or what --delimiter says, perhaps in quotes")
          ->needs(field);
  command
      .add_option("--json-pointer", arguments->json_pointers, "the id is at this place in the JSON text of the line")
      ->excludes(field)
      ->type_name("POINTER")
      ->allow_extra_args(false);
  command
      .add_flag_callback(
          "-z,--null", [&options] { options.lines.end = '\0'; },
          "lines end with NUL instead of a newline, in all files")
      ->excludes(csv);
  add_choice<OnError>(command, "--on-error", options.on_error,
                      {{"pass", OnError::pass}, {"drop", OnError::drop}, {"fail", OnError::fail}},
                      "what becomes of a line without an id; pass by default");
  command.add_option("--duplicates", options.duplicates, "append the other lines to this file")->type_name("FILE");
  command.add_flag("--quiet", options.quiet, "no summary");
  command.footer(kFilterFooter);
  add_example(command, "oncelog filter --store seen --json-pointer /messageId <messages.ndjson");
  command.callback([&chosen, arguments] {
    chosen = [arguments] {
      arguments->set_source();
      return run_filter(arguments->options);
    };
  });
}

void add_mark(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<MarkOptions>();
  CLI::App& command = *app.add_subcommand("mark", "mark ids as processed, and say which were fresh");
  add_store(command, options->store);
  add_scope(command, options->store);
  add_ack(command, options->store);
  add_making(command, options->store);
  command.add_option("--correlation", options->correlation, "joins these records over all scopes; see dump")
      ->type_name("ID");
  command.add_option("--result", options->result, "kept with the records, e.g. the answer to give to a duplicate")
      ->type_name("TEXT");
  add_ids(command, options->ids);
  command.add_flag("--exit-code", options->exit_code, "exit 1 when an id was not fresh");
  command.add_flag("--quiet", options->quiet, "print nothing");
  command.footer(ids_footer("marked and answered", ""));
  add_example(command, "oncelog mark --store seen --correlation case-9 --result accepted order-4712");
  run_when_chosen(command, chosen, options, run_mark);
}

void add_check(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<CheckOptions>();
  CLI::App& command = *app.add_subcommand("check",
                                          "say which ids are known, marking nothing; exit 0 when all are, 1 "
                                          "when one is not, 2 on error");
  add_store(command, options->store);
  add_scope(command, options->store);
  add_ids(command, options->ids);
  command.add_flag("--quiet", options->quiet, "print nothing");
  command.footer(ids_footer("answered", ""));
  add_example(command, "oncelog check --store seen order-4711");
  run_when_chosen(command, chosen, options, run_check);
}

void add_forget(CLI::App& app, Run& chosen) {
  add_on_ids(app, chosen, "forget",
             "make processed ids fresh again; exit 0 when all were known, 1 when one was not, 2 on error", run_forget,
             ids_footer("forgotten and answered",
                        "\nSo does the first one while it waits for the disk, before the answer: ids may be forgotten "
                        "then without one."),
             "oncelog forget --store seen order-4711");
}

void add_release(CLI::App& app, Run& chosen) {
  add_on_ids(app, chosen, "release",
             "free claimed ids, whoever has them; exit 0 when all were claimed, 1 when one was not, 2 on error",
             run_release, ids_footer("released and answered", ""),
             "oncelog release --store seen order-4711 || echo \"it was not claimed\"");
}

}  // namespace oncelog::tool
