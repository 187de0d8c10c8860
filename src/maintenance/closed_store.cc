#include "maintenance/closed_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "shared/directory.h"

namespace oncelog::internal {
namespace {

/// Whether a store was not opened since it was copied, and this user may only read it.
bool is_readable_backup(const std::filesystem::path& directory) {
  struct stat status {};
  if (::lstat((directory / "lock.mdb").c_str(), &status) == 0 || errno != ENOENT) return false;
  const std::filesystem::path data = directory / "data.mdb";
  return ::faccessat(AT_FDCWD, data.c_str(), R_OK, AT_EACCESS) == 0 &&
         ::faccessat(AT_FDCWD, data.c_str(), W_OK, AT_EACCESS) != 0 && errno == EACCES;
}

}  // namespace

DataFile::DataFile(const std::filesystem::path& path) : file_(open_descriptor(path, O_RDONLY | O_NONBLOCK)) {
  if (!file_) throw system_error(errno, "opening it", path);
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) throw system_error(errno, "fstat", path);
  if (S_ISREG(status.st_mode)) return;
  throw error_at(ErrorCode::not_a_store, path, "is not a regular file; that of a store is one");
}

bool is_mounted_read_only(const std::filesystem::path& directory) {
  struct statvfs filesystem {};
  if (::statvfs(directory.c_str(), &filesystem) != 0) throw system_error(errno, "statvfs", directory);
  return (filesystem.f_flag & ST_RDONLY) != 0;
}

bool lock_if_closed(std::optional<OpenLock>& lock, const std::filesystem::path& directory) {
  if (is_readable_backup(directory)) return true;
  if (!is_mounted_read_only(directory)) {
    lock.emplace(directory);
    if (!lock->acquire()) throw no_store(directory);
    return lock->join();
  }
  if (!OpenLock::used_by_others(directory)) return true;
  throw error_at(ErrorCode::in_use, directory,
                 "a process has the store open by a mount where it can be written; use the path there");
}

void lock_alone(std::optional<OpenLock>& lock, const std::filesystem::path& directory) {
  std::error_code failed;
  if (std::filesystem::symlink_status(directory / "lock.mdb", failed).type() == std::filesystem::file_type::not_found) {
    return;
  }
  if (!lock_if_closed(lock, directory)) {
    throw error_at(ErrorCode::in_use, directory, "a process has the store open; close it in every process first");
  }
}

}  // namespace oncelog::internal
