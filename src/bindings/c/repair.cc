#include <oncelog/repair.h>

#include <chrono>
#include <optional>

#include "base/error.h"
#include "bindings/c/handles.h"

using namespace oncelog::internal::c;
using std::chrono::milliseconds;

namespace {

oncelog::RepairOptions repair_options(const oncelog_repair_options* given) {
  oncelog::RepairOptions options;
  if (given == nullptr) return options;
  const oncelog_repair_options known = known_part(given, "oncelog_repair_options");
  check_reserved(known.reserved, sizeof known.reserved, "oncelog_repair_options");
  if (known.allow_foreign_owner > 1 || known.allow_network_filesystem > 1) {
    oncelog::internal::refuse("a flag of oncelog_repair_options is neither 0 nor 1");
  }
  if (known.live_dir != nullptr) options.live_dir = known.live_dir;
  if (known.retention_ms != 0) options.retention = milliseconds{known.retention_ms};
  if (known.buckets != 0) options.buckets = known.buckets;
  if (known.map_bytes != 0) options.map_bytes = known.map_bytes;
  if (known.max_readers != 0) options.max_readers = known.max_readers;
  options.allow_foreign_owner = known.allow_foreign_owner != 0;
  options.allow_network_filesystem = known.allow_network_filesystem != 0;
  return options;
}

}  // namespace

oncelog_code oncelog_repair(const char* directory, const char* into, const oncelog_repair_options* options,
                            oncelog_problem_visitor visitor, void* user, oncelog_repair_report* report,
                            oncelog_error** error) {
  return call(error, [&] {
    need(directory, "directory");
    need(into, "into");
    std::optional<Output<oncelog_repair_report>> out;
    if (report != nullptr) out.emplace(report, "oncelog_repair_report");
    const oncelog::RepairReport done = oncelog::repair(directory, into, repair_options(options));
    if (out) {
      out->fill({.size = sizeof(oncelog_repair_report),
                 .records = done.records,
                 .from_shared_memory = done.from_shared_memory,
                 .scopes = done.scopes,
                 .entries = done.entries,
                 .end = done.end.value,
                 .problems = done.problem_count,
                 .known_since_us = us_of(done.known_since)});
    }
    visit_problems(done.problems, visitor, user);
  });
}

oncelog_code oncelog_rebuild_hints(const char* directory, const oncelog_repair_options* options,
                                   oncelog_error** error) {
  return call(error, [&] {
    need(directory, "directory");
    oncelog::rebuild_hints(directory, repair_options(options));
  });
}
