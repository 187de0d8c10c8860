#include "repair.h"

#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <oncelog/error.h>
#include <oncelog/repair.h>

#include "output.h"
#include "remote_store.h"
#include "timestamp.h"
#include "verify.h"

namespace oncelog::tool {
namespace {

using Json = nlohmann::ordered_json;

std::string to_text(const RepairReport& report, const RepairArguments& arguments) {
  std::string text = problems_text(report.problems, arguments.store.directory);
  if (report.problem_count > report.problems.size()) {
    text += fmt::format("and {} more\n\n", report.problem_count - report.problems.size());
  }
  return text + fmt::format(
                    "{}: {} records ({} of them from shared memory), {} scopes and {} entries of user tables "
                    "saved to {}; it remembers all that was processed since {}\n",
                    report.complete()
                        ? "complete"
                        : fmt::format("{} problem{}", report.problem_count, report.problem_count == 1 ? "" : "s"),
                    report.records, report.from_shared_memory, report.scopes, report.entries, arguments.into.string(),
                    format_time(report.known_since));
}

Json to_json(const RepairReport& report, const RepairArguments& arguments) {
  return {{"complete", report.complete()},
          {"problem_count", report.problem_count},
          {"problems", problems_json(report.problems, arguments.store.directory)},
          {"records", report.records},
          {"from_shared_memory", report.from_shared_memory},
          {"scopes", report.scopes},
          {"entries", report.entries},
          {"end", report.end.value},
          {"known_since", format_time(report.known_since)}};
}

}  // namespace

int run_repair(const RepairArguments& arguments) {
  refuse_address("repair", arguments.store.directory);
  if (arguments.hints != arguments.into.empty()) {
    throw Error(ErrorCode::invalid_argument, "repair: give either --into NEWDIR or --hints");
  }
  RepairOptions options;
  options.live_dir = arguments.store.live_dir;
  options.retention = arguments.store.retention;
  options.buckets = arguments.store.buckets;
  options.allow_foreign_owner = arguments.store.allow_foreign_owner;
  options.allow_network_filesystem = arguments.store.allow_network_filesystem;
  options.map_bytes = arguments.store.map_bytes;
  options.max_readers = arguments.store.max_readers;
  if (arguments.hints) {
    act_as_owner(arguments.store);
    rebuild_hints(arguments.store.directory, options);
    return 0;
  }
  RepairReport report;
  {
    ProgressLine progress("repair");
    report = repair(arguments.store.directory, arguments.into, options, progress.hook());
  }
  standard_output().write(arguments.json
                              ? to_json(report, arguments).dump(-1, ' ', false, Json::error_handler_t::replace) + '\n'
                              : to_text(report, arguments));
  return report.complete() ? 0 : 1;
}

}  // namespace oncelog::tool
