#include "shared/open_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <string>

#include "base/error.h"
#include "base/message_hash.h"
#include "base/shared_memory.h"

namespace oncelog::internal {
namespace {

// Far beyond any file's data, where nobody else locks anything.
constexpr off_t kFirstByte = off_t{1} << 62;
constexpr off_t kOpeningByte = kFirstByte;
constexpr off_t kUsersByte = kFirstByte + 1;
constexpr off_t kProcessBytes = kFirstByte + (off_t{1} << 40);  // Plus the process id.
constexpr off_t kPairBytes = kFirstByte + (off_t{1} << 48);     // Plus a number for the other file.
constexpr off_t kPairs = off_t{1} << 40;

// The file that earlier versions lock, and their byte in it.
constexpr const char* kFormerName = "oncelog.lock";
constexpr off_t kFormerUsersByte = (off_t{1} << 40) + 1;

struct flock lock_of(short type, off_t byte, off_t bytes = 1) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = bytes;
  return lock;
}

/// Returns false when another descriptor holds a lock that is not waited for. Those that are waited for are held for
/// moments, so that a signal need not end the wait.
bool set_lock(int fd, int command, short type, off_t byte, const std::filesystem::path& path) {
  struct flock lock = lock_of(type, byte);
  while (::fcntl(fd, command, &lock) != 0) {
    if (errno == EINTR) continue;
    if (command == F_OFD_SETLK && (errno == EAGAIN || errno == EACCES)) return false;
    throw system_error(errno, "locking it", path);
  }
  return true;
}

/// Whether anyone else holds a lock on one of these bytes.
bool locked_by_others(int fd, off_t byte, off_t bytes, const std::filesystem::path& path) {
  if (bytes == 0) return false;  // To fcntl 0 bytes are all bytes.
  struct flock lock = lock_of(F_WRLCK, byte, bytes);
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0) throw system_error(errno, "asking for its locks", path);
  return lock.l_type != F_UNLCK;
}

struct stat status_of(int fd, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw system_error(errno, "fstat", path);
  return status;
}

/// Whether `path` names the file that `fd` has open.
bool names(const std::filesystem::path& path, int fd) {
  struct stat named {};
  if (::stat(path.c_str(), &named) != 0) {
    if (errno == ENOENT) return false;
    throw system_error(errno, "stat", path);
  }
  const struct stat opened = status_of(fd, path);
  return named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

off_t pair_byte(int other, const std::filesystem::path& path) {
  const struct stat status = status_of(other, path);
  const std::array<std::uint64_t, 2> file{status.st_dev, status.st_ino};
  return kPairBytes + static_cast<off_t>(XXH3_64bits(file.data(), sizeof file) % static_cast<std::uint64_t>(kPairs));
}

/// Locks, in the file at `fd`, the byte of the file at `other`; false when others have locked another file's byte.
bool lock_pair(int fd, int other, const std::filesystem::path& path) {
  const off_t byte = pair_byte(other, path);
  if (locked_by_others(fd, kPairBytes, byte - kPairBytes, path) ||
      locked_by_others(fd, byte + 1, kPairBytes + kPairs - byte - 1, path)) {
    return false;
  }
  return set_lock(fd, F_OFD_SETLK, F_RDLCK, byte, path);
}

}  // namespace

OpenLock::OpenLock(const std::filesystem::path& directory)
    : data_path_(directory / "data.mdb"), lock_path_(directory / "lock.mdb"), former_path_(directory / kFormerName) {}

OpenLock::~OpenLock() {
  // Unlocked explicitly: a child that was made without fork()'s handlers shares the open files, and would keep the
  // locks for as long as it lives.
  for (const ParentsDescriptor* file : {&data_, &lock_}) {
    struct flock all = lock_of(F_UNLCK, kFirstByte, 0);
    if (*file) ::fcntl(file->get(), F_OFD_SETLK, &all);
  }
  struct flock users = lock_of(F_UNLCK, kFormerUsersByte);
  if (former_) ::fcntl(former_.get(), F_OFD_SETLK, &users);
}

bool OpenLock::acquire() {
  for (;;) {
    if (!data_.open(data_path_, O_RDWR)) {
      if (errno == ENOENT) return false;
      throw system_error(errno, "opening it", data_path_);
    }
    if (!set_lock(data_.get(), F_OFD_SETLK, F_WRLCK, kProcessBytes + ::getpid(), data_path_)) {
      throw error_at(
          ErrorCode::in_use, data_path_,
          "this process already has it open, through another copy of the oncelog library or another path to the "
          "same file (or a process with the same number in another pid namespace has it open); let the "
          "application and its plug-ins share one liboncelog.so and one path");
    }
    lock();
    // Tried again if the file was deleted or replaced in the meantime.
    if (is_current()) return true;
  }
}

bool OpenLock::join() {
  const int fd = data_.get();
  const bool alone = set_lock(fd, F_OFD_SETLK, F_WRLCK, kUsersByte, data_path_);
  // A lock of the same description is converted in place, so nobody gets in between.
  set_lock(fd, F_OFD_SETLKW, F_RDLCK, kUsersByte, data_path_);
  if (!former_.open(former_path_, O_RDWR | O_NOFOLLOW)) {
    if (errno != ENOENT) throw system_error(errno, "opening it", former_path_);
    return alone;
  }
  // A process that is not alone relies on the first one, which has asked.
  if (alone && !set_lock(former_.get(), F_OFD_SETLK, F_WRLCK, kFormerUsersByte, former_path_)) {
    throw error_at(ErrorCode::in_use, data_path_,
                   "a process with an earlier version of oncelog has the store open; close it there first");
  }
  // Held from now on, so that an earlier version does not take itself to be alone.
  set_lock(former_.get(), F_OFD_SETLKW, F_RDLCK, kFormerUsersByte, former_path_);
  return alone;
}

void OpenLock::pair() {
  const auto refuse_pair = [&](const char* what) {
    return error_at(ErrorCode::in_use, data_path_.parent_path(),
                    "{} was deleted or replaced while processes have the store open; close it in all of "
                    "them, then open it again",
                    what);
  };
  if (!lock_.open(lock_path_, O_RDWR | O_NOFOLLOW)) {
    if (errno == ENOENT) throw refuse_pair("lock.mdb");
    throw system_error(errno, "opening it", lock_path_);
  }
  if (!lock_pair(data_.get(), lock_.get(), data_path_)) throw refuse_pair("lock.mdb");
  if (!lock_pair(lock_.get(), data_.get(), lock_path_)) throw refuse_pair("data.mdb");
}

bool OpenLock::used_by_others(const std::filesystem::path& directory) {
  const std::filesystem::path data = directory / "data.mdb";
  const Descriptor file = open_descriptor(data, O_RDONLY | O_NONBLOCK);
  if (!file) throw system_error(errno, "opening it", data);
  return locked_by_others(file.get(), kOpeningByte, kUsersByte - kOpeningByte + 1, data);
}

void OpenLock::lock() {
  set_lock(data_.get(), F_OFD_SETLKW, F_WRLCK, kOpeningByte, data_path_);
}

void OpenLock::unlock() {
  set_lock(data_.get(), F_OFD_SETLK, F_UNLCK, kOpeningByte, data_path_);
}

bool OpenLock::is_current() const {
  return names(data_path_, data_.get());
}

struct stat OpenLock::status() const {
  return status_of(data_.get(), data_path_);
}

std::filesystem::path OpenLock::formerly_noted_live_dir() const {
  if (!former_) return {};
  std::array<char, PATH_MAX> text;
  const ssize_t size = ::pread(former_.get(), text.data(), text.size(), 0);
  if (size < 0) throw system_error(errno, "reading it", former_path_);
  return std::string(text.data(), static_cast<std::size_t>(size));
}

void OpenLock::forget_earlier_version() {
  if (!former_) return;
  if (::unlink(former_path_.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", former_path_);
  former_.reset();
}

}  // namespace oncelog::internal
