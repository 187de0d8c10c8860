#include <memory>

#include <CLI/CLI.hpp>

#include <oncelog/error.h>

#include "arguments.h"
#include "commands.h"
#include "export.h"
#include "help.h"
#include "import.h"

/// The commands that move what is known from one store to another.
namespace oncelog::tool {
namespace {

/// What --table and --keys are given with, before it is known which of them it is.
struct ExportArguments {
  ExportOptions options;
  LegacyTable table;
  LegacyKeys keys;
  bool from_table = false;
  bool from_keys = false;
};

int run(const ExportArguments& arguments) {
  ExportOptions options = arguments.options;
  const std::string address = options.store.directory.string();
  if (arguments.from_table) {
    options.table = arguments.table;
    options.table->address = address;
  } else if (arguments.from_keys) {
    options.keys = arguments.keys;
    options.keys->address = address;
    if (!options.scope || arguments.keys.retention.count() <= 0) {
      throw Error(ErrorCode::invalid_argument,
                  "--keys takes --scope, into which the ids are put, and --retention, with which the keys were set");
    }
    options.keys->scope = *options.scope;
  }
  return run_export(options);
}

}  // namespace

void add_export(CLI::App& app, Run& chosen) {
  const auto arguments = std::make_shared<ExportArguments>();
  CLI::App& command = *app.add_subcommand("export", "what is processed, for import into another store");
  add_store(command, arguments->options.store);
  command.add_option("--scope", arguments->options.scope,
                     "only this scope's; of --keys, the one that they are put into");
  add_time(command, "--since", arguments->options.since, "processed at or after");
  add_time(command, "--until", arguments->options.until, "processed before");
  command.add_option("--output", arguments->options.output, "append to this file, and go on where it ends")
      ->type_name("FILE");
  command.add_flag("--progress", arguments->options.progress, "say once a second how far it is");
  CLI::Option* const table =
      command.add_option("--table", arguments->table.table, "of a table of --store postgresql://... instead")
          ->type_name("TABLE");
  command.add_option("--id-column", arguments->table.id, "of the table; message_id")->needs(table);
  command.add_option("--time-column", arguments->table.time, "of the table; processed_at")->needs(table);
  command.add_option("--scope-column", arguments->table.scope, "of the table; service_name")->needs(table);
  CLI::Option* const keys =
      command.add_option("--keys", arguments->keys.prefix, "of the keys PREFIX + ID of --store redis://... instead")
          ->type_name("PREFIX")
          ->excludes(table);
  add_duration(command, "--retention", arguments->keys.retention, "with which the keys were set: PX, EX or EXPIRE");
  command.footer(
      "A line is one record, as dump prints it: the newest word on its id, forgotten ids left out. A key's time is so\n"
      "long before it expires as --retention says; keys that never expire are left out and counted.");
  add_example(command, "oncelog export --store seen --since 7d --output seen.ndjson");
  command.callback([&chosen, arguments, table, keys] {
    arguments->from_table = table->count() != 0;
    arguments->from_keys = keys->count() != 0;
    chosen = [arguments] { return run(*arguments); };
  });
}

void add_import(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<ImportOptions>();
  CLI::App& command = *app.add_subcommand(
      "import", "take over what an export says; exit 0, or 1 when ids are claimed and must be imported again");
  add_store(command, options->store);
  add_making(command, options->store);
  command.add_option("--scope", options->scope, "put all of it into this scope, instead of its own");
  command.add_option("--input", options->input, "read this file instead of standard input")->type_name("FILE");
  command.add_option("--checkpoint", options->checkpoint, "remember here how much is on disk, and go on from there")
      ->type_name("FILE");
  command.add_flag("--progress", options->progress, "say once a second how far it is");
  command.footer(
      "An id stays a duplicate until its processed_at + the retention of this store. Ids that are known or claimed "
      "here\n"
      "stay as they are, those past the retention are left out; so it may be done while the store is used, and again.\n"
      "Earlier versions of oncelog refuse to open a store on disk into which something was imported.");
  add_example(command, "oncelog export --store seen | oncelog import --store other");
  run_when_chosen(command, chosen, options, run_import);
}

}  // namespace oncelog::tool
