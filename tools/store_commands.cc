#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <oncelog/error.h>

#include "arguments.h"
#include "backup.h"
#include "claims.h"
#include "commands.h"
#include "dump.h"
#include "help.h"
#include "lock.h"
#include "once.h"
#include "printable.h"
#include "remote_store.h"
#include "repair.h"
#include "restore.h"
#include "stat.h"
#include "topics.h"
#include "verify.h"

/// The commands that take no ids.
namespace oncelog::tool {
namespace {

/// run_when_chosen() for a subcommand that runs `options->command`, which CLI11 has not seen. An argument before the
/// "--" is `none`; `needed` is what has to stand there besides the store.
template <typename Options>
void run_with_command(CLI::App& command, Run& chosen, const std::shared_ptr<Options>& options,
                      int (*run)(const Options&), const char* none, const char* needed) {
  command.allow_extras();
  command.callback([&command, &chosen, options, run, none, needed] {
    const std::string name = command.get_name();
    const std::string usage = fmt::format("write oncelog {} --store DIR {} -- COMMAND...", name, needed);
    if (const std::vector<std::string> extras = command.remaining(); !extras.empty()) {
      throw Error(ErrorCode::invalid_argument, fmt::format("{}: '{}' is {}, and stands before --; {}", name,
                                                           printable(extras.front()), none, usage));
    }
    if (options->command.empty()) {
      throw Error(ErrorCode::invalid_argument, fmt::format("{}: no command; {}", name, usage));
    }
    chosen = [options, run] { return run(*options); };
  });
}

}  // namespace

void add_stat(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<StatOptions>();
  CLI::App& command = *app.add_subcommand("stat", "what the store holds and has done");
  add_store(command, options->store);
  CLI::Option* const json = command.add_flag_callback(
      "--json", [options] { options->form = StatOptions::Form::json; }, "every metric, as one JSON object");
  command
      .add_flag_callback(
          "--prometheus", [options] { options->form = StatOptions::Form::prometheus; },
          "every metric, in Prometheus' text format")
      ->excludes(json);
  command.footer(
      "Counters are those of all processes since the shared memory was made, at the latest after a reboot. A process\n"
      "adds what it has counted every flush interval and when it closes the store; one that is killed takes at most\n"
      "the last interval's counts along.");
  add_example(command, "oncelog stat --store seen --json");
  run_when_chosen(command, chosen, options, run_stat);
}

void add_dump(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<DumpOptions>();
  CLI::App& command = *app.add_subcommand("dump", "the records in order, one JSON object a line");
  add_store(command, options->store);
  command.add_option("--scope", options->scope, "only this scope's");
  command.add_option("--correlation", options->correlation, "only those that were marked with it")->type_name("ID");
  add_time(command, "--since", options->since,
           "processed at or after: RFC 3339, @SECONDS since 1970, or 1h for an hour ago");
  add_time(command, "--until", options->until, "processed before");
  add_example(command, "oncelog dump --store seen --scope default --since 1h");
  run_when_chosen(command, chosen, options, run_dump);
}

void add_claims(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<ClaimsOptions>();
  CLI::App& command = *app.add_subcommand("claims", "what is claimed and locked now, oldest first");
  add_store(command, options->store);
  command.add_flag("--json", options->json, "one JSON object a line");
  command.footer(
      "A line is TOKEN PID alive|dead DEADLINE free_at_once|free_after_lease|keep SCOPE ID: the fencing token, the "
      "owner, when\n"
      "its lease expires, and what its death does to it. A lock's scope is \"-\". Ids are cut after 56 bytes.");
  add_example(command, "oncelog claims --store seen");
  run_when_chosen(command, chosen, options, run_claims);
}

void add_lock(CLI::App& app, Run& chosen, std::vector<std::string> to_run) {
  const auto options = std::make_shared<LockOptions>();
  options->command = std::move(to_run);
  CLI::App& command = *app.add_subcommand("lock", "run a command, after --, while holding a named lock of the store");
  add_store(command, options->store, "it is refused as well");
  add_making(command, options->store);
  add_duration(command, "--lease", options->lease,
               "how long the lock outlives a host process that is stopped, not dead; renewed until the command ends; "
               "30s");
  add_duration(command, "--wait", options->wait, "how long to wait for it; 0s");
  command.add_option("name", options->name, "of the lock")->required();
  command.footer(
      "The exit code is the command's: 128 + N when signal N ended it, 126 or 127 when it could not be run. It is 75\n"
      "when the lock was not to be had, or was lost, and 2 on error. The command finds the fencing token, which grows\n"
      "with each taking, in ONCELOG_TOKEN. Signals are passed on to it; while there is no command yet, and once it "
      "has\n"
      "ended, the first one ends oncelog at once. The command gets SIGTERM when the lock is lost, because oncelog was\n"
      "stopped for longer than the lease, and when oncelog is killed, unless it is a set-user-ID program such as\n"
      "sudo. Only the command itself gets these signals, not what it has started: that goes on without the lock\n"
      "unless the command ends it.");
  add_example(command, "oncelog lock --store seen --wait 10s nightly -- echo \"running\"");
  run_with_command(command, chosen, options, run_lock, "neither an option nor the lock's name", "NAME");
}

void add_once(CLI::App& app, Run& chosen, std::vector<std::string> to_run) {
  const auto options = std::make_shared<OnceArguments>();
  options->command = std::move(to_run);
  CLI::App& command = *app.add_subcommand(
      "once", "run a command, after --, once for an id; a later call prints its output and exits with its code");
  add_store(command, options->store, "it is refused as well");
  add_making(command, options->store);
  command.add_option("--scope", options->store.scope, "whose id this is, e.g. the service's name")
      ->capture_default_str();
  command.add_option("--id", options->id, "of the work, such as nightly-2026-11-25")->required();
  add_duration(command, "--wait", options->wait, "how long to wait while another call runs it; as long as it runs");
  command.add_flag_callback(
      "--no-wait", [options] { options->wait = std::chrono::milliseconds{0}; }, "do not: exit 75 then");
  add_duration(command, "--lease", options->lease,
               "how long the id stays claimed when this process is stopped; renewed until the command ends; 30s");
  add_duration(command, "--max-runtime", options->max_runtime,
               "how long it is renewed; then another call may run; 24h");
  command.add_flag(
      "--keep-failure", options->keep_failure,
      "keep the output and the code of a command that fails as well; otherwise the next call runs it again");
  command.footer(
      "The exit code is the command's, or the one that was kept: 128 + N when signal N ended it, 126 or 127 when it\n"
      "could not be run. It is 75 when another call has the id for longer than --wait, or got it because the command\n"
      "ran for longer than --max-runtime, and 2 on error. Standard output passes as it comes; the first MiB of it is\n"
      "kept, until the retention is over. It ends when all that the command has started has closed it. Standard error\n"
      "is not kept. Signals are passed on to the command, which gets SIGTERM when oncelog is killed; then the id is\n"
      "free again. The id's result is the exit code, a newline and the output, for programs that read it.");
  add_example(command, "oncelog once --store seen --id nightly-2026-11-25 -- echo \"done\"");
  run_with_command(command, chosen, options, run_once, "no option", "--id ID");
}

void add_topics(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<TopicsLintOptions>();
  CLI::App& topics = *app.add_subcommand("topics", "what AMQP topic patterns do to a consumer");
  topics.require_subcommand(1);
  CLI::App& command = *topics.add_subcommand("lint",
                                             "say which subscriptions of a service get the same message twice; exit 0 "
                                             "when none do, 1 when some do, 2 on error");
  command
      .add_option("file", options->file,
                  "a subscription a line, SERVICE PATTERN or {\"service\":\"...\",\"pattern\":\"...\"}; lines that "
                  "begin with // are comments; - is standard input")
      ->required()
      ->type_name("FILE");
  command.add_flag("--json", options->json, "one JSON object a line");
  command.footer(
      "Each subscription is taken to have a queue of its own: one queue gets a message once, however many of its\n"
      "bindings match. A repeat of a subscription is compared with the first of its kind only.");
  add_example(command, "oncelog topics lint subscriptions.txt");
  run_when_chosen(command, chosen, options, run_topics_lint);
}

void add_verify(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<VerifyArguments>();
  CLI::App& command = *app.add_subcommand("verify",
                                          "say whether what the store holds is sound, while it is used; exit 0 when it "
                                          "is, 1 when not, 2 when that cannot be found out");
  add_store(command, options->store);
  command.add_flag("--deep", options->deep, "also look every live record up in filter and index");
  command.add_flag("--json", options->json, "one JSON object");
  command.footer(
      "Reads only; --deep opens the store as check does. Takes 2 bits of memory for each page of data.mdb and some "
      "MB,\n"
      "whatever the store's size, and looks at what was there when it began. Values of\n"
      "user tables bear no checksum; only the structure around them is checked.");
  add_example(command, "oncelog verify --store seen --deep");
  run_when_chosen(command, chosen, options, run_verify);
}

void add_repair(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<RepairArguments>();
  CLI::App& command = *app.add_subcommand("repair",
                                          "save all that is whole in a damaged store into a new one; exit 0 when "
                                          "nothing was lost, 1 when something was, 2 on error");
  add_store(command, options->store, "--hints goes on as that user, --into is refused as well");
  CLI::Option* const into =
      command.add_option("--into", options->into, "a new or empty directory for the new store")->type_name("DIR");
  CLI::Option* const hints =
      command.add_flag("--hints", options->hints, "have filter and index of this store made again, and nothing else")
          ->excludes(into);
  add_duration(command, "--retention", options->store.retention,
               "of the new store, where the damaged one's is lost; 24h");
  command.add_option("--buckets", options->store.buckets, "the same for its time slices; 8");
  command.add_flag("--json", options->json, "one JSON object")->excludes(hints);
  command.footer(
      "No process may have the store open. The damaged store is only read. Where records are lost their ids are fresh\n"
      "again, or too_old for messages that say when they were sent. Afterwards put the new directory in the place of\n"
      "the old one; do not use both.");
  add_example(command, "oncelog repair --store seen --into whole");
  run_when_chosen(command, chosen, options, run_repair);
}

void add_backup(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<BackupArguments>();
  CLI::App& command = *app.add_subcommand("backup", "copy the store, while it is used, into a new or empty directory");
  add_store(command, options->store, "it is refused as well");
  command.add_option("directory", options->into, "for the copy")->required()->type_name("DIR");
  command.add_flag("--json", options->json, "one JSON object");
  command.footer(
      "Everything marked before is in it. It is complete and on disk when its name appears; what an interrupted one "
      "has\n"
      "left beside it, .DIR.unfinished-..., is removed by the next one to the same DIR. To go on with a backup, "
      "restore\n"
      "it; opened as it is, it gives the fencing tokens since then again and calls what was processed since then "
      "fresh.");
  add_example(command, "oncelog backup --store seen tonight");
  run_when_chosen(command, chosen, options, run_backup);
}

void add_restore(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<RestoreArguments>();
  CLI::App& command = *app.add_subcommand("restore", "make a store of a backup in a new or empty directory");
  command.add_option("backup", options->backup, "the backup")->required()->type_name("BACKUP");
  command.add_option("directory", options->into, "for the store")->required()->type_name("DIR");
  command.add_flag("--json", options->json, "one JSON object");
  command.add_flag("--allow-foreign-owner", options->allow_foreign_owner, "restore a backup of another user");
  command.footer(
      "The backup is checked, every record of it, and left as it is. What was processed after it is forgotten: such "
      "ids\n"
      "are fresh, or too_old for messages that say when they were sent.\n"
      "\n"
      "Fencing tokens go on above those given since the backup, unless the store was booted 4096 times since, and "
      "above\n"
      "those of a store that was restored from the same backup a minute or more ago, unless that one was booted once "
      "a\n"
      "minute or more often since.");
  add_example(command, "oncelog restore copy restored");
  run_when_chosen(command, chosen, options, run_restore);
}

void add_remote(CLI::App& app, Run& chosen) {
  const auto options = std::make_shared<RemoteInitOptions>();
  CLI::App& remote = *app.add_subcommand("remote", "stores that several hosts share");
  remote.require_subcommand(1);
  CLI::App& command =
      *remote.add_subcommand("init", "make what a shared store needs on its server; again does no harm");
  command.add_option("address", options->address, "postgresql://USER@HOST:PORT/DATABASE?schema=NAME")
      ->required()
      ->type_name("ADDRESS");
  add_duration(command, "--retention", options->retention, "how long an id stays a duplicate; 24h");
  command.add_flag("--print", options->print, "print the statements of SQL instead, for PostgreSQL");
  command.footer(
      "Every command takes such an address for --store. Those that need files of a store on disk say that they cannot\n"
      "do it there.");
  add_example(command, "oncelog remote init --print 'postgresql://app@db/app?schema=seen'");
  run_when_chosen(command, chosen, options, run_remote_init);
}

}  // namespace oncelog::tool
