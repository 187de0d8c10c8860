#include "lmdb/lock_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace oncelog::internal::lmdb {
namespace {

/// Bytes of lock.mdb that stand for something when they are locked: in use, and, by its number, a process that lives.
constexpr off_t kInUseByte = 0;

int set_lock(int file, int command, short type, off_t byte) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  while (::fcntl(file, command, &lock) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace

void LockFile::open(const std::filesystem::path& path) {
  path_ = path;
  if (!file_.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0660)) throw system_error(errno, "opening it", path);
}

FileId LockFile::id() const {
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) throw system_error(errno, "fstat", path_);
  return {status.st_dev, status.st_ino};
}

void LockFile::hold() const {
  // LMDB has locked the same byte for this process, shared: so this lock is granted.
  const int error_number = set_lock(file_.get(), F_OFD_SETLK, F_RDLCK, kInUseByte);
  if (error_number != 0) throw system_error(error_number, "locking it", path_);
}

void LockFile::release() const {
  set_lock(file_.get(), F_OFD_SETLK, F_UNLCK, kInUseByte);
}

void LockFile::assert_alive() const {
  set_lock(file_.get(), F_SETLK, F_WRLCK, static_cast<off_t>(::getpid()));
}

}  // namespace oncelog::internal::lmdb
