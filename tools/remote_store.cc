#include "remote_store.h"

#include <algorithm>

#include <fmt/format.h>

#include <oncelog/error.h>
#ifdef ONCELOG_WITH_REMOTE
#include <oncelog/remote.h>
#endif

#include "output.h"

namespace oncelog::tool {

bool is_shared(const StoreArguments& arguments) {
  return is_address(arguments.directory.string());
}

void refuse_address(std::string_view command, const std::filesystem::path& directory) {
  if (!is_address(directory.string())) return;
  throw Error(ErrorCode::unsupported,
              fmt::format("{} is for stores on disk; a shared store has its server's tools for that", command));
}

#ifdef ONCELOG_WITH_REMOTE
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

}  // namespace

bool is_address(std::string_view text) {
  return remote::is_address(text);
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
  if (!is_address(options.address)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("remote init takes an address, such as postgresql://USER@HOST/DATABASE, not '{}'",
                            options.address));
  }
  if (options.print) {
    standard_output().write(remote::postgresql_schema(options.address, options.retention.value_or(kDefaultRetention)));
    return 0;
  }
  remote::open(options.address, {.retention = options.retention});
  return 0;
}

#else
namespace {

[[noreturn]] void refuse() {
  throw Error(ErrorCode::unsupported,
              "this oncelog was built without oncelog-remote, which shared stores need: libpq or hiredis was missing");
}

}  // namespace

bool is_address(std::string_view text) {
  const std::string_view scheme = text.substr(0, std::min(text.find("://"), text.size()));
  return scheme.size() < text.size() && (scheme.starts_with("postgres") || scheme.starts_with("redis"));
}

Store open_shared(const StoreArguments&, OpenFor) {
  refuse();
}

int run_remote_init(const RemoteInitOptions&) {
  refuse();
}
#endif

}  // namespace oncelog::tool
