#include "staged_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "host.h"
#include "shared_memory.h"

namespace oncelog::internal {
namespace {

namespace fs = std::filesystem;

/// Absolute, and without a slash at the end.
fs::path normal(const fs::path& path) {
  std::error_code failed;
  fs::path absolute = fs::absolute(path, failed).lexically_normal();
  if (failed) throw system_error(failed.value(), "resolving it", path);
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

}  // namespace

StagedDirectory::StagedDirectory(const fs::path& target) : target_(normal(target)) {
  std::error_code failed;
  const fs::file_status status = fs::symlink_status(target_, failed);
  if (failed && status.type() != fs::file_type::not_found) {
    throw system_error(failed.value(), "looking at it", target_);
  }
  if (status.type() != fs::file_type::not_found) {
    const bool empty = status.type() == fs::file_type::directory && fs::is_empty(target_, failed);
    if (failed) throw system_error(failed.value(), "reading it", target_);
    if (!empty) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: is there already, and is never overwritten; name a new or an empty directory",
                              target_.string()),
                  target_);
    }
  }
  oldest_parent_ = target_.parent_path();
  while (!fs::exists(oldest_parent_, failed) && oldest_parent_ != oldest_parent_.parent_path()) {
    oldest_parent_ = oldest_parent_.parent_path();
  }
  fs::create_directories(target_.parent_path(), failed);
  if (failed) throw system_error(failed.value(), "creating it", target_.parent_path());
  std::uint64_t serial = 0;
  fill_random(&serial, sizeof serial);
  path_ = target_.parent_path() / fmt::format(".{}.unfinished-{:016x}", target_.filename().string(), serial);
  if (::mkdir(path_.c_str(), 0777) != 0) throw system_error(errno, "creating it", path_);
}

StagedDirectory::~StagedDirectory() {
  std::error_code failed;  // What cannot be removed bears a name that says what it is.
  if (!published_) fs::remove_all(path_, failed);
}

void StagedDirectory::publish() {
  sync_path(path_);
  // Replaces an empty directory; what came to be there meanwhile makes it fail.
  if (::rename(path_.c_str(), target_.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: something has come to be there meanwhile; it is left alone", target_.string()),
                  target_);
    }
    throw system_error(errno, "renaming the finished directory to it", target_);
  }
  published_ = true;
  for (fs::path parent = target_.parent_path();; parent = parent.parent_path()) {
    sync_path(parent);
    if (parent == oldest_parent_ || parent == parent.parent_path()) break;
  }
}

void StagedDirectory::give_to_owner_of(const fs::path& original) const {
  if (::geteuid() != 0) return;
  struct stat status {};
  if (::stat(original.c_str(), &status) != 0) throw system_error(errno, "stat", original);
  const auto give = [&](const fs::path& path) {
    if (::lchown(path.c_str(), status.st_uid, status.st_gid) != 0) throw system_error(errno, "lchown", path);
  };
  std::error_code failed;
  for (fs::directory_iterator at(path_, failed), end; !failed && at != end; at.increment(failed)) give(at->path());
  if (failed) throw system_error(failed.value(), "reading it", path_);
  give(path_);
}

void sync_path(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = file >= 0 && ::fsync(file) == 0;
  const int error_number = errno;
  if (file >= 0) ::close(file);
  if (!synced) throw system_error(error_number, "fsync", path);
}

}  // namespace oncelog::internal
