#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

/// The subcommands. Each function adds one to the app, with its options and its help; when the parsed arguments choose
/// it, `chosen` becomes what runs it. `chosen` must outlive the parsing. One thread.
namespace oncelog::tool {

/// Returns the exit code. Errors: oncelog::Error, ClosedOutput.
using Run = std::function<int()>;

void add_filter(CLI::App& app, Run& chosen);
void add_mark(CLI::App& app, Run& chosen);
void add_check(CLI::App& app, Run& chosen);
void add_stat(CLI::App& app, Run& chosen);
void add_dump(CLI::App& app, Run& chosen);
void add_forget(CLI::App& app, Run& chosen);
void add_claims(CLI::App& app, Run& chosen);
void add_release(CLI::App& app, Run& chosen);
/// `to_run`: the command after "--" and its arguments, which CLI11 must not see.
void add_lock(CLI::App& app, Run& chosen, std::vector<std::string> to_run);
/// The same for `once`.
void add_once(CLI::App& app, Run& chosen, std::vector<std::string> to_run);
void add_topics(CLI::App& app, Run& chosen);
void add_verify(CLI::App& app, Run& chosen);
void add_repair(CLI::App& app, Run& chosen);
void add_backup(CLI::App& app, Run& chosen);
void add_restore(CLI::App& app, Run& chosen);
void add_export(CLI::App& app, Run& chosen);
void add_import(CLI::App& app, Run& chosen);
void add_remote(CLI::App& app, Run& chosen);

}  // namespace oncelog::tool
