#include "maintenance/staged_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/host.h"
#include "base/shared_memory.h"

namespace oncelog::internal {
namespace {

namespace fs = std::filesystem;

/// Absolute, and without a slash at the end.
fs::path normal(const fs::path& path) {
  if (path.empty()) {
    throw Error(ErrorCode::invalid_argument, "the new directory's name is empty; name a new or an empty directory");
  }
  std::error_code failed;
  fs::path absolute = fs::absolute(path, failed).lexically_normal();
  if (failed) throw system_error(failed.value(), "resolving it", path);
  return absolute.has_filename() ? absolute : absolute.parent_path();
}

Error refusal(const fs::path& target, const std::string& reason) {
  return error_at(ErrorCode::invalid_argument, target, "{}", reason);
}

constexpr const char* kMountPoint =
    "is a mount point, which the finished directory cannot take the place of; name a new directory in it";

/// The name of a directory that is being made for `target`, but for its serial number.
std::string unfinished_name(const fs::path& target) {
  return fmt::format(".{}.unfinished-", target.filename().string());
}

}  // namespace

StagedDirectory::StagedDirectory(const fs::path& target, const fs::path& source) : target_(normal(target)) {
  std::error_code failed;
  const fs::file_status status = fs::symlink_status(target_, failed);
  if (failed && status.type() != fs::file_type::not_found) {
    throw system_error(failed.value(), "looking at it", target_);
  }
  if (status.type() != fs::file_type::not_found) {
    const bool empty = status.type() == fs::file_type::directory && fs::is_empty(target_, failed);
    if (failed) throw system_error(failed.value(), "reading it", target_);
    if (!empty) throw refusal(target_, "exists already, and is never overwritten; name a new or an empty directory");
    struct stat own {};
    struct stat parent {};
    if (::stat(target_.c_str(), &own) != 0) throw system_error(errno, "stat", target_);
    if (::stat(target_.parent_path().c_str(), &parent) != 0) throw system_error(errno, "stat", target_.parent_path());
    if (own.st_dev != parent.st_dev) throw refusal(target_, kMountPoint);
  }
  const fs::path store = fs::canonical(source, failed);
  const fs::path resolved = failed ? fs::path() : fs::weakly_canonical(target_, failed);
  if (!failed && std::mismatch(store.begin(), store.end(), resolved.begin(), resolved.end()).first == store.end()) {
    throw refusal(target_,
                  fmt::format("is inside of the store '{}', which it is to outlive; name a directory elsewhere",
                              source.string()));
  }
  oldest_parent_ = target_.parent_path();
  while (!fs::exists(oldest_parent_, failed) && oldest_parent_ != oldest_parent_.parent_path()) {
    oldest_parent_ = oldest_parent_.parent_path();
  }
  fs::create_directories(target_.parent_path(), failed);
  if (failed) throw system_error(failed.value(), "creating it", target_.parent_path());
  remove_abandoned();
  while (!make()) {
  }
}

/// Makes the directory and locks it. False when another process has taken it for an abandoned one and removed it.
bool StagedDirectory::make() {
  std::uint64_t serial = 0;
  fill_random(&serial, sizeof serial);
  path_ = target_.parent_path() / fmt::format("{}{:016x}", unfinished_name(target_), serial);
  if (::mkdir(path_.c_str(), 0777) != 0) throw system_error(errno, "creating it", path_);
  if (!lock_.open(path_, O_RDONLY | O_DIRECTORY)) {
    if (errno == ENOENT) return false;
    throw system_error(errno, "opening it", path_);
  }
  // Where there are no locks, nobody removes anything.
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) return errno != EWOULDBLOCK;
  std::error_code failed;
  return fs::exists(path_, failed);
}

/// Removes what makers that died have left.
void StagedDirectory::remove_abandoned() const {
  const std::string begin = unfinished_name(target_);
  std::vector<fs::path> found;
  std::error_code failed;  // What cannot be removed is in nobody's way.
  for (fs::directory_iterator at(target_.parent_path(), failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (name.size() == begin.size() + 16 && name.starts_with(begin)) found.push_back(at->path());
  }
  for (const fs::path& path : found) {
    const Descriptor directory = open_descriptor(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    struct stat status {};
    if (!directory || ::fstat(directory.get(), &status) != 0 || status.st_uid != ::geteuid()) continue;
    if (::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) fs::remove_all(path, failed);
  }
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
      throw refusal(target_, "something else has appeared there meanwhile; it is left alone");
    }
    if (errno == EBUSY) throw refusal(target_, kMountPoint);
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
  const Descriptor file = open_descriptor(path, O_RDONLY);
  if (!file || ::fsync(file.get()) != 0) throw system_error(errno, "fsync", path);
}

}  // namespace oncelog::internal
