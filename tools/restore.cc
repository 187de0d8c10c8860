#include "restore.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <oncelog/backup.h>

#include "output.h"
#include "remote_store.h"
#include "timestamp.h"

namespace oncelog::tool {

int run_restore(const RestoreArguments& arguments) {
  refuse_address("restore", arguments.into);
  const RestoreReport report =
      restore(arguments.backup, arguments.into, {.allow_foreign_owner = arguments.allow_foreign_owner});
  const nlohmann::ordered_json json{{"below", report.below.value},
                                    {"bytes", report.bytes},
                                    {"known_since", format_time(report.known_since)},
                                    {"token_epoch", report.token_epoch}};
  standard_output().write(
      arguments.json
          ? json.dump() + '\n'
          : fmt::format("every mark below LSN {} is in it; what was processed after the backup and before {} is not "
                        "known\n",
                        report.below.value, format_time(report.known_since)));
  return 0;
}

}  // namespace oncelog::tool
