#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <oncelog/oncelog.h>

#include "arguments.h"
#include "backup.h"
#include "check.h"
#include "claims.h"
#include "dump.h"
#include "filter.h"
#include "forget.h"
#include "lock.h"
#include "mark.h"
#include "output.h"
#include "printable.h"
#include "release.h"
#include "repair.h"
#include "restore.h"
#include "stat.h"
#include "stop_signal.h"
#include "topics.h"
#include "verify.h"

namespace oncelog::tool {
namespace {

constexpr int kErrorExit = 2;

/// The options of all subcommands, and the one that was chosen.
struct CommandLine {
  FilterOptions filter;
  MarkOptions mark;
  CheckOptions check;
  StatOptions stat;
  DumpOptions dump;
  IdsOptions forget;
  ClaimsOptions claims;
  IdsOptions release;
  LockOptions lock;
  TopicsLintOptions topics_lint;
  VerifyArguments verify;
  RepairArguments repair;
  BackupArguments backup;
  RestoreArguments restore;

  std::vector<unsigned> fields;
  std::string delimiter;
  bool csv = false;
  std::vector<std::string> json_pointers;

  std::function<int()> run;
};

std::optional<char> delimiter(const std::string& text) {
  if (text.empty()) return std::nullopt;
  if (text == "\\t") return '\t';
  if (text.size() == 1) return text.front();
  throw Error(ErrorCode::invalid_argument,
              fmt::format("--delimiter: '{}' is not one character; write for example ',' or '\\t'", text));
}

/// Of commands that do something to ids.
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

/// What its options say of the filter's lines and where their ids are.
void set_source(CommandLine& line) {
  FilterOptions& options = line.filter;
  if (!line.json_pointers.empty()) {
    options.id = JsonPointers{line.json_pointers};
  } else if (!line.fields.empty()) {
    const std::optional<char> between = delimiter(line.delimiter);
    if (line.csv) {
      if (between && std::string_view("\"\r\n").find(*between) != std::string_view::npos) {
        throw Error(ErrorCode::invalid_argument, "--delimiter: a quote or a line's end cannot be between CSV fields");
      }
      options.lines.csv_delimiter = between.value_or(',');
    }
    options.id = Fields{line.fields, between, line.csv};
  }
}

void add_filter(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("filter",
                                          "pass on only the first line of each id, from standard input to "
                                          "standard output, across runs and processes");
  FilterOptions& options = line.filter;
  add_store(command, options.store);
  add_scope(command, options.store);
  add_ack(command, options.store);
  add_making(command, options.store);
  CLI::Option* const field = command.add_option("--field", line.fields, "the id is the line's N-th field, from 1")
                                 ->type_name("N")
                                 ->allow_extra_args(false);
  command.add_option("--delimiter", line.delimiter, "the character between fields; runs of blanks by default")
      ->needs(field)
      ->type_name("C");
  CLI::Option* const csv =
      command
          .add_flag("--csv", line.csv,
                    "fields are those of RFC 4180: between commas, or what --delimiter says, perhaps in quotes")
          ->needs(field);
  command.add_option("--json-pointer", line.json_pointers, "the id is at this place in the JSON text of the line")
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
  command.footer(
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
      "A line of progress is shown when standard error is a terminal and standard output is not.");
  command.callback([&line] {
    line.run = [&line] {
      set_source(line);
      return run_filter(line.filter);
    };
  });
}

void add_mark(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("mark", "mark ids as processed, and say which were fresh");
  add_store(command, line.mark.store);
  add_scope(command, line.mark.store);
  add_ack(command, line.mark.store);
  add_making(command, line.mark.store);
  command.add_option("--correlation", line.mark.correlation, "joins these records over all scopes; see dump")
      ->type_name("ID");
  command.add_option("--result", line.mark.result, "kept with the records, e.g. the answer to give to a duplicate")
      ->type_name("TEXT");
  add_ids(command, line.mark.ids);
  command.add_flag("--exit-code", line.mark.exit_code, "exit 1 when an id was not fresh");
  command.add_flag("--quiet", line.mark.quiet, "print nothing");
  command.footer(ids_footer("marked and answered", ""));
  command.callback([&line] { line.run = [&line] { return run_mark(line.mark); }; });
}

void add_check(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("check",
                                          "say which ids are known, marking nothing; exit 0 when all are, 1 "
                                          "when one is not, 2 on error");
  add_store(command, line.check.store);
  add_scope(command, line.check.store);
  add_ids(command, line.check.ids);
  command.add_flag("--quiet", line.check.quiet, "print nothing");
  command.footer(ids_footer("answered", ""));
  command.callback([&line] { line.run = [&line] { return run_check(line.check); }; });
}

void add_stat(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("stat", "what the store holds and has done");
  add_store(command, line.stat.store);
  CLI::Option* const json = command.add_flag_callback(
      "--json", [&line] { line.stat.form = StatOptions::Form::json; }, "every metric, as one JSON object");
  command
      .add_flag_callback(
          "--prometheus", [&line] { line.stat.form = StatOptions::Form::prometheus; },
          "every metric, in Prometheus' text format")
      ->excludes(json);
  command.footer(
      "Counters are those of all processes since the shared memory was made, at the latest after a reboot. A process\n"
      "adds what it has counted every flush interval and when it closes the store; one that is killed takes at most\n"
      "the last interval's counts along.");
  command.callback([&line] { line.run = [&line] { return run_stat(line.stat); }; });
}

void add_dump(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("dump", "the records in order, one JSON object a line");
  add_store(command, line.dump.store);
  command.add_option("--scope", line.dump.scope, "only this scope's");
  command.add_option("--correlation", line.dump.correlation, "only those that were marked with it")->type_name("ID");
  add_time(command, "--since", line.dump.since,
           "processed at or after: RFC 3339, @SECONDS since 1970, or 1h for an hour ago");
  add_time(command, "--until", line.dump.until, "processed before");
  command.callback([&line] { line.run = [&line] { return run_dump(line.dump); }; });
}

void add_on_ids(CLI::App& app, CommandLine& line, const char* name, const char* what, IdsOptions& options,
                int (*run)(const IdsOptions&), const std::string& footer) {
  CLI::App& command = *app.add_subcommand(name, what);
  add_store(command, options.store);
  add_scope(command, options.store);
  add_ids(command, options.ids);
  command.footer(footer);
  command.callback([&line, &options, run] { line.run = [&options, run] { return run(options); }; });
}

void add_forget(CLI::App& app, CommandLine& line) {
  add_on_ids(app, line, "forget",
             "make processed ids fresh again; exit 0 when all were known, 1 when one was not, 2 on error", line.forget,
             run_forget,
             ids_footer("forgotten and answered",
                        "\nSo does the first one while it waits for the disk, before the answer: ids may be forgotten "
                        "then without one."));
}

void add_claims(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("claims", "what is claimed and locked now, oldest first");
  add_store(command, line.claims.store);
  command.add_flag("--json", line.claims.json, "one JSON object a line");
  command.footer(
      "A line is TOKEN PID alive|dead DEADLINE free_at_once|free_after_lease|keep SCOPE ID: the fencing token, the "
      "owner, when\n"
      "its lease is over, and what its death does to it. A lock's scope is \"-\". Ids are cut after 64 bytes.");
  command.callback([&line] { line.run = [&line] { return run_claims(line.claims); }; });
}

void add_release(CLI::App& app, CommandLine& line) {
  add_on_ids(app, line, "release",
             "free claimed ids, whoever has them; exit 0 when all were claimed, 1 when one was not, 2 on error",
             line.release, run_release, ids_footer("released and answered", ""));
}

void add_lock(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("lock", "run a command, after --, while holding a named lock of the store");
  add_store(command, line.lock.store, "it is refused as well");
  add_making(command, line.lock.store);
  add_duration(command, "--lease", line.lock.lease,
               "how long the lock outlives a host process that is stopped, not dead; renewed until the command ends; "
               "30s");
  add_duration(command, "--wait", line.lock.wait, "how long to wait for it; 0s");
  command.add_option("name", line.lock.name, "of the lock")->required();
  command.footer(
      "The exit code is the command's: 128 + N when signal N ended it, 126 or 127 when it could not be run. It is 75\n"
      "when the lock was not to be had, or was lost, and 2 on error. The command finds the fencing token, which grows\n"
      "with each taking, in ONCELOG_TOKEN. Signals are passed on to it; while there is no command yet, and once it "
      "has\n"
      "ended, the first one ends oncelog at once. The command gets SIGTERM when the lock is lost, because oncelog was\n"
      "stopped for longer than the lease, and when oncelog is killed, unless it is a set-user-ID program such as\n"
      "sudo. Only the command itself gets these signals, not what it has started: that goes on without the lock\n"
      "unless the command ends it.");
  command.allow_extras();
  command.callback([&command, &line] {
    constexpr const char* kUsage = "write oncelog lock --store DIR NAME -- COMMAND...";
    if (const std::vector<std::string> extras = command.remaining(); !extras.empty()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("lock: '{}' is neither an option nor the lock's name, and stands before --; {}",
                              printable(extras.front()), kUsage));
    }
    if (line.lock.command.empty()) {
      throw Error(ErrorCode::invalid_argument, fmt::format("lock: no command; {}", kUsage));
    }
    line.run = [&line] { return run_lock(line.lock); };
  });
}

void add_topics(CLI::App& app, CommandLine& line) {
  CLI::App& topics = *app.add_subcommand("topics", "what AMQP topic patterns do to a consumer");
  topics.require_subcommand(1);
  CLI::App& command = *topics.add_subcommand("lint",
                                             "say which subscriptions of a service get the same message twice; exit 0 "
                                             "when none do, 1 when some do, 2 on error");
  command
      .add_option("file", line.topics_lint.file,
                  "a subscription a line, SERVICE PATTERN or {\"service\":\"...\",\"pattern\":\"...\"}; lines that "
                  "begin with // are comments; - is standard input")
      ->required()
      ->type_name("FILE");
  command.add_flag("--json", line.topics_lint.json, "one JSON object a line");
  command.footer(
      "Each subscription is taken to have a queue of its own: one queue gets a message once, however many of its\n"
      "bindings match. A repeat of a subscription is compared with the first of its kind only.");
  command.callback([&line] { line.run = [&line] { return run_topics_lint(line.topics_lint); }; });
}

void add_verify(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("verify",
                                          "say whether what the store holds is sound, while it is used; exit 0 when it "
                                          "is, 1 when not, 2 when that cannot be found out");
  add_store(command, line.verify.store);
  command.add_flag("--deep", line.verify.deep, "also look every live record up in filter and index");
  command.add_flag("--json", line.verify.json, "one JSON object");
  command.footer(
      "Reads only; --deep opens the store as check does. Takes 2 bits of memory for each page of data.mdb and some "
      "MB,\n"
      "whatever the store's size, and looks at what was there when it began. Values of\n"
      "user tables bear no checksum; only the structure around them is checked.");
  command.callback([&line] { line.run = [&line] { return run_verify(line.verify); }; });
}

void add_repair(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("repair",
                                          "save all that is whole in a damaged store into a new one; exit 0 when "
                                          "nothing was lost, 1 when something was, 2 on error");
  RepairArguments& arguments = line.repair;
  add_store(command, arguments.store, "--hints goes on as that user, --into is refused as well");
  CLI::Option* const into =
      command.add_option("--into", arguments.into, "a new or empty directory for the new store")->type_name("DIR");
  CLI::Option* const hints =
      command.add_flag("--hints", arguments.hints, "have filter and index of this store made again, and nothing else")
          ->excludes(into);
  add_duration(command, "--retention", arguments.store.retention,
               "of the new store, where the damaged one's is lost; 24h");
  command.add_option("--buckets", arguments.store.buckets, "the same for its time slices; 8");
  command.add_flag("--json", arguments.json, "one JSON object")->excludes(hints);
  command.footer(
      "No process may have the store open. The damaged store is only read. Where records are lost their ids are fresh\n"
      "again, or too_old for messages that say when they were sent. Afterwards put the new directory in the place of\n"
      "the old one; do not use both.");
  command.callback([&line] { line.run = [&line] { return run_repair(line.repair); }; });
}

void add_backup(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("backup", "copy the store, while it is used, into a new or empty directory");
  add_store(command, line.backup.store, "it is refused as well");
  command.add_option("directory", line.backup.into, "for the copy")->required()->type_name("DIR");
  command.add_flag("--json", line.backup.json, "one JSON object");
  command.footer(
      "Everything marked before is in it. It is complete and on disk when its name appears; what an interrupted one "
      "has\n"
      "left beside it, .DIR.unfinished-..., is removed by the next one to the same DIR. To go on with a backup, "
      "restore\n"
      "it; opened as it is, it gives the fencing tokens since then again and calls what was processed since then "
      "fresh.");
  command.callback([&line] { line.run = [&line] { return run_backup(line.backup); }; });
}

void add_restore(CLI::App& app, CommandLine& line) {
  CLI::App& command = *app.add_subcommand("restore", "make a store of a backup in a new or empty directory");
  command.add_option("backup", line.restore.backup, "the backup")->required()->type_name("BACKUP");
  command.add_option("directory", line.restore.into, "for the store")->required()->type_name("DIR");
  command.add_flag("--json", line.restore.json, "one JSON object");
  command.add_flag("--allow-foreign-owner", line.restore.allow_foreign_owner, "restore a backup of another user");
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
  command.callback([&line] { line.run = [&line] { return run_restore(line.restore); }; });
}

int fail(std::string sentence) {
  std::ranges::replace(sentence, '\n', ' ');
  fmt::print(stderr, "oncelog: {}\n", sentence);
  return kErrorExit;
}

int run(int argc, const char* const* argv) {
  CLI::App app("Remembers which messages were processed.", "oncelog");
  app.set_version_flag("--version", std::string("oncelog ") + ONCELOG_VERSION);
  app.require_subcommand(1);
  CommandLine line;
  add_filter(app, line);
  add_mark(app, line);
  add_check(app, line);
  add_stat(app, line);
  add_dump(app, line);
  add_forget(app, line);
  add_claims(app, line);
  add_release(app, line);
  add_lock(app, line);
  add_topics(app, line);
  add_verify(app, line);
  add_repair(app, line);
  add_backup(app, line);
  add_restore(app, line);
  if (argc > 1 && argv[1] == std::string_view("lock")) {
    // What comes after -- is the command's own to the byte; CLI11 would make a list of an argument in brackets.
    const auto* const end = std::find(argv, argv + argc, std::string_view("--"));
    if (end != argv + argc) line.lock.command.assign(end + 1, argv + argc);
    argc = static_cast<int>(end - argv);
  }
  if (const char* const list = list_of_ids(argc, argv)) {
    return fail(fmt::format("'{}' would be taken for a list; give ids in brackets by standard input", printable(list)));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);
      return std::cout.flush() ? 0 : fail("cannot write to standard output");
    }
    if (app.get_subcommands().empty() && argc > 1 && argv[1][0] != '-') {
      return fail(fmt::format("there is no command '{}'; see oncelog --help", printable(argv[1])));
    }
    std::string chosen = app.get_name();
    for (const CLI::App* at = &app; !at->get_subcommands().empty();) {
      at = at->get_subcommands().front();
      chosen += ' ' + at->get_name();
    }
    return fail(fmt::format("{}; see {} --help", error.what(), chosen));
  }
  return line.run();
}

/// A standard descriptor that the parent closed would be given to the first file that is opened, and the store's files
/// must not become anyone's output. Each is opened the wrong way round, so that its use is an error as before.
void hold_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) < 0) ::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace
}  // namespace oncelog::tool

int main(int argc, char** argv) {
  using namespace oncelog::tool;
  hold_standard_descriptors();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // A file that may not grow further is an error like a full disk.
  try {
    const int code = run(argc, argv);
    // A command under a lock may have an exit code of that kind, which is its own.
    const int signal = StopSignal::received();
    return signal != 0 && code == 128 + signal ? end_by_signal(signal) : code;
  } catch (const ClosedOutput&) {
    return end_by_signal(SIGPIPE);
  } catch (const oncelog::Error& error) {
    return fail(in_flags(error));
  } catch (const std::bad_alloc&) {
    return fail("out of memory; give it more, or look for an endless line in the input");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
