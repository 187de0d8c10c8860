#include "store_arguments.h"

#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include <oncelog/error.h>

#include "remote_store.h"

namespace oncelog::tool {
namespace {

Options common_options(const StoreArguments& arguments) {
  Options options;
  options.retention = arguments.retention;
  options.buckets = arguments.buckets;
  options.live_dir = arguments.live_dir;
  options.allow_foreign_owner = arguments.allow_foreign_owner;
  options.allow_network_filesystem = arguments.allow_network_filesystem;
  options.expected_ids = arguments.expected_ids;
  if (arguments.flush_interval) options.flush_interval = *arguments.flush_interval;
  options.ring_bytes = arguments.ring_bytes;
  options.max_bytes = arguments.max_bytes;
  if (arguments.map_bytes) options.map_bytes = *arguments.map_bytes;
  if (arguments.max_readers) options.max_readers = *arguments.max_readers;
  if (arguments.max_claims) {
    // Too many are refused by the library, in its words.
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
    options.max_claims = static_cast<std::uint32_t>(std::min(*arguments.max_claims, kMost));
  }
  return options;
}

}  // namespace

void act_as_owner(const StoreArguments& arguments) {
  struct stat data = {};
  if (::geteuid() != 0 || arguments.allow_foreign_owner || is_shared(arguments)) return;
  if (::stat((arguments.directory / "data.mdb").c_str(), &data) != 0 || data.st_uid == 0) return;
  // The owner's own groups, where the system knows the owner, may be what opens the way to the store.
  const struct passwd* const owner = ::getpwuid(data.st_uid);
  const bool done = (owner != nullptr ? ::initgroups(owner->pw_name, data.st_gid) : ::setgroups(0, nullptr)) == 0 &&
                    ::setresgid(data.st_gid, data.st_gid, data.st_gid) == 0 &&
                    ::setresuid(data.st_uid, data.st_uid, data.st_uid) == 0;
  if (done) return;
  throw Error(ErrorCode::no_permission,
              fmt::format("{}: belongs to user {}, as whom root cannot act here: {}; insist with allow_foreign_owner",
                          arguments.directory.string(), data.st_uid, std::strerror(errno)),
              arguments.directory);
}

Store open_as_this_user(const StoreArguments& arguments) {
  if (is_shared(arguments)) return open_shared(arguments, OpenFor::marks);
  Options options = common_options(arguments);
  options.ack = arguments.ack;
  return Store::open(arguments.directory, options);
}

Store open_for_marks(const StoreArguments& arguments) {
  act_as_owner(arguments);
  return open_as_this_user(arguments);
}

Store open_existing(const StoreArguments& arguments) {
  act_as_owner(arguments);
  return open_existing_as_this_user(arguments);
}

Store open_existing_as_this_user(const StoreArguments& arguments) {
  if (is_shared(arguments)) return open_shared(arguments, OpenFor::changes);
  Options options = common_options(arguments);
  options.create = false;
  return Store::open(arguments.directory, options);
}

Store open_for_reading(const StoreArguments& arguments) {
  if (is_shared(arguments)) return open_shared(arguments, OpenFor::reading);
  act_as_owner(arguments);
  Options options = common_options(arguments);
  options.create = false;
  options.read_only = true;
  return Store::open(arguments.directory, options);
}

}  // namespace oncelog::tool
