#include "command_line.h"

#include <functional>
#include <initializer_list>
#include <memory>

#include <oncelog/oncelog.h>

#include "help.h"

namespace oncelog::tool {
namespace {

constexpr const char* kFooter =
    "oncelog SUBCOMMAND --help describes one subcommand.\n"
    "\n"
    "Exit codes:\n"
    "0: done, or the answer is yes. 1: the answer is no: an id is not known, a store is not sound, something was "
    "lost.\n"
    "2: an error; one sentence on standard error names it and, where there is one, the way out. 75: the lock was not "
    "to\n"
    "be had, or was lost. 126 and 127: the lock's command could not be run. 128 + N: ended by signal N.";

using Add = std::function<void(CLI::App&, Run&)>;

/// --help lists the commands of one group together.
void add_group(CLI::App& app, Run& chosen, const char* name, std::initializer_list<Add> commands) {
  for (const Add& add : commands) add(app, chosen);
  const std::string ungrouped = app.get_group();
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    if (command->get_group() == ungrouped) command->group(name);
  }
}

}  // namespace

void build_command_line(CLI::App& app, Run& chosen, const std::vector<std::string>& to_run) {
  app.name("oncelog");
  app.description("Remembers which messages were processed.");
  app.formatter(std::make_shared<HelpFormatter>());  // Before the subcommands, which take it over.
  app.set_version_flag("--version", std::string("oncelog ") + ONCELOG_VERSION, "print the version");
  app.set_help_flag("-h,--help", "print this help");
  app.require_subcommand(1);
  add_group(app, chosen, "Ids", {add_filter, add_mark, add_check, add_forget});
  add_group(app, chosen, "Claims and locks",
            {[&to_run](CLI::App& to, Run& run) { add_once(to, run, to_run); },
             [&to_run](CLI::App& to, Run& run) { add_lock(to, run, to_run); }, add_claims, add_release});
  add_group(app, chosen, "Looking", {add_stat, add_dump, add_topics});
  add_group(app, chosen, "Care", {add_verify, add_repair, add_backup, add_restore});
  add_group(app, chosen, "Sharing and moving", {add_export, add_import, add_remote});
  app.footer(kFooter);
  add_example(app, "oncelog filter --store seen <ids.txt");
}

}  // namespace oncelog::tool
