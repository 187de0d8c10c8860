#include "open_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>

#include "shared_memory.h"

namespace oncelog::internal {
namespace {

// Bytes of the file that stand for the two locks; what is written in the file is none of theirs.
constexpr off_t kOpeningByte = off_t{1} << 40;
constexpr off_t kUsersByte = kOpeningByte + 1;

/// Returns false when a lock that was not waited for is held by someone else.
bool set_lock(int fd, int command, short type, off_t byte, const std::filesystem::path& path) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  while (::fcntl(fd, command, &lock) != 0) {
    if (errno == EINTR) continue;
    if (command == F_OFD_SETLK && (errno == EAGAIN || errno == EACCES)) return false;
    throw system_error(errno, "locking it", path);
  }
  return true;
}

}  // namespace

OpenLock::OpenLock(const std::filesystem::path& directory) : path_(directory / "oncelog.lock") {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
  if (fd_ < 0) throw system_error(errno, "opening it", path_);
  try {
    lock();
  } catch (const Error&) {
    ::close(fd_);
    throw;
  }
}

OpenLock::~OpenLock() {
  if (fd_ < 0) return;
  // Unlocked by name: a child of fork() shares the open file, and would keep the locks for as long as it lives.
  struct flock both {};
  both.l_type = F_UNLCK;
  both.l_whence = SEEK_SET;
  both.l_start = kOpeningByte;
  both.l_len = 2;
  ::fcntl(fd_, F_OFD_SETLK, &both);
  ::close(fd_);
}

void OpenLock::lock() {
  set_lock(fd_, F_OFD_SETLKW, F_WRLCK, kOpeningByte, path_);
}

void OpenLock::unlock() {
  set_lock(fd_, F_OFD_SETLK, F_UNLCK, kOpeningByte, path_);
}

bool OpenLock::join() {
  const bool alone = set_lock(fd_, F_OFD_SETLK, F_WRLCK, kUsersByte, path_);
  // A lock of the same description is converted in place, so nobody gets in between.
  set_lock(fd_, F_OFD_SETLKW, F_RDLCK, kUsersByte, path_);
  return alone;
}

std::filesystem::path OpenLock::noted_live_dir() const {
  std::array<char, PATH_MAX> text;
  const ssize_t size = ::pread(fd_, text.data(), text.size(), 0);
  if (size < 0) throw system_error(errno, "reading it", path_);
  return std::string(text.data(), static_cast<std::size_t>(size));
}

void OpenLock::note_live_dir(const std::filesystem::path& live_dir) {
  const std::string text = live_dir.string();
  if (noted_live_dir() == text) return;
  if (::ftruncate(fd_, 0) != 0) throw system_error(errno, "writing it", path_);
  const ssize_t size = ::pwrite(fd_, text.data(), text.size(), 0);
  if (size < 0 || static_cast<std::size_t>(size) != text.size())
    throw system_error(size < 0 ? errno : ENOSPC, "writing it", path_);
}

}  // namespace oncelog::internal
