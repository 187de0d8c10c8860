#include "remote_store.h"

#include <fmt/format.h>

#include <oncelog/error.h>
#include <oncelog/remote.h>

#include "output.h"

namespace oncelog::tool {
namespace {

/// Options of stores on disk mean nothing on a server.
void check_arguments(const StoreArguments& arguments) {
  const char* given = nullptr;
  if (arguments.buckets) given = "--buckets";
  if (arguments.expected_ids) given = "--expected-ids";
  if (arguments.flush_interval) given = "--flush-interval";
  if (arguments.ring_bytes) given = "--ring-bytes";
  if (arguments.max_claims) given = "--max-claims";
  if (arguments.max_bytes) given = "--max-bytes";
  if (arguments.map_bytes) given = "--map-bytes";
  if (arguments.max_readers) given = "--max-readers";
  if (!arguments.live_dir.empty()) given = "--live-dir";
  if (given == nullptr) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{} is for stores on disk; a shared store has no such thing", given));
}

std::string schema_of(const std::string& address) {
  constexpr std::string_view kParameter = "schema=";
  const std::size_t at = address.find(kParameter);
  if (at == std::string::npos) return "oncelog";
  const std::size_t begin = at + kParameter.size();
  return address.substr(begin, address.find('&', begin) - begin);
}

}  // namespace

bool is_shared(const StoreArguments& arguments) {
  return remote::is_address(arguments.directory.string());
}

Store open_shared(const StoreArguments& arguments, OpenFor purpose) {
  check_arguments(arguments);
  remote::Options options;
  options.retention = arguments.retention;
  options.ack = arguments.ack;
  options.create = purpose == OpenFor::marks;
  options.read_only = purpose == OpenFor::reading;
  return remote::open(arguments.directory.string(), options);
}

int run_remote_init(const RemoteInitOptions& options) {
  if (!remote::is_address(options.address)) {
    throw Error(ErrorCode::invalid_argument, "remote init takes an address, such as postgresql://USER@HOST/DATABASE");
  }
  if (options.print) {
    Output output = standard_output();
    output.write(remote::postgresql_schema(schema_of(options.address), options.retention.value_or(kDefaultRetention)));
    return 0;
  }
  remote::open(options.address, {.retention = options.retention});
  return 0;
}

}  // namespace oncelog::tool
