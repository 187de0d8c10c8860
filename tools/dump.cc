#include "dump.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <oncelog/error.h>

#include "ndjson.h"
#include "output.h"
#include "printable.h"

namespace oncelog::tool {
namespace {

constexpr std::size_t kBytesPerWrite = std::size_t{64} << 10;

/// A scope that was never used is a slip of the pen, and silence would be the wrong answer to it.
void check_scope(const Store& store, const DumpOptions& options) {
  if (!options.scope) return;
  const std::vector<std::string> scopes = store.scopes();
  if (std::ranges::find(scopes, *options.scope) != scopes.end()) return;
  std::string known;
  for (const std::string& scope : scopes) {
    known += known.empty() ? "'" : ", '";
    known += printable(scope);
    known += '\'';
  }
  throw Error(ErrorCode::not_found,
              fmt::format("{}: no scope '{}' was ever used in this store; it has {}", options.store.directory.string(),
                          *options.scope, known.empty() ? "none" : known),
              options.store.directory);
}

}  // namespace

int run_dump(const DumpOptions& options) {
  Output output = standard_output();
  const Store store = open_for_reading(options.store);
  check_scope(store, options);
  std::string lines;
  const auto print = [&](const Record& record) {
    append_record(lines, record);
    if (lines.size() >= kBytesPerWrite) {
      output.write(lines);
      lines.clear();
    }
    return true;
  };
  if (options.correlation) {
    for (const Record& record : store.correlated(*options.correlation)) {
      if (options.scope && record.scope != *options.scope) continue;
      if (options.since && record.processed_at < *options.since) continue;
      if (options.until && record.processed_at >= *options.until) continue;
      print(record);
    }
  } else {
    store.scan({options.scope, options.since, options.until}, print);
  }
  output.write(lines);
  return 0;
}

}  // namespace oncelog::tool
