#include "backup.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "output.h"
#include "remote_store.h"

namespace oncelog::tool {

int run_backup(const BackupArguments& arguments) {
  refuse_address("backup", arguments.store.directory);
  const BackupReport report = open_existing_as_this_user(arguments.store).backup(arguments.into);
  const nlohmann::ordered_json json{{"below", report.below.value}, {"bytes", report.bytes}};
  standard_output().write(
      arguments.json ? json.dump() + '\n'
                     : fmt::format("every mark below LSN {} is in it; {} bytes\n", report.below.value, report.bytes));
  return 0;
}

}  // namespace oncelog::tool
