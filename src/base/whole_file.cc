#include "base/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/shared_memory.h"

namespace oncelog::internal {

void write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw system_error(written == 0 ? ENOSPC : errno, "pwrite", path);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void read_at(int fd, std::span<std::byte> bytes, std::uint64_t offset, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t read = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) throw system_error(errno, "pread", path);
    if (read == 0) throw error_at(ErrorCode::io, path, "it has become shorter while it was read");
    bytes = bytes.subspan(static_cast<std::size_t>(read));
    offset += static_cast<std::uint64_t>(read);
  }
}

Descriptor open_to_write(const std::filesystem::path& path) {
  Descriptor file = open_descriptor(path, O_WRONLY | O_NOFOLLOW);
  if (!file) throw system_error(errno, "opening it", path);
  return file;
}

NewFile::NewFile(std::filesystem::path path) : path_(std::move(path)), unfinished_(path_.string() + kUnfinished) {
  // What a process that died has left of it.
  if (::unlink(unfinished_.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", unfinished_);
  file_ = open_descriptor(unfinished_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0660);
  if (!file_) throw system_error(errno, "creating it", unfinished_);
  try {
    give_to_owner_of_directory(file_.get(), unfinished_);
  } catch (const Error&) {
    ::unlink(unfinished_.c_str());
    throw;
  }
}

NewFile::~NewFile() {
  if (!published_) ::unlink(unfinished_.c_str());
}

void NewFile::append(std::span<const std::byte> bytes) {
  write_at(file_.get(), bytes, size_, unfinished_);
  write_back();
  size_ += bytes.size();
}

/// Has the disk write what was appended last, once it has written what came before. An error that it tells is not told
/// again by fdatasync.
void NewFile::write_back() {
#ifdef SYNC_FILE_RANGE_WRITE
  if (size_ == written_back_) return;
  const int failed =
      ::sync_file_range(file_.get(), static_cast<off_t>(written_back_), static_cast<off_t>(size_ - written_back_),
                        SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  if (failed != 0 && (errno == EIO || errno == ENOSPC || errno == EDQUOT)) {
    throw system_error(errno, "sync_file_range", unfinished_);
  }
  written_back_ = size_;
#endif
}

void NewFile::sync() {
  if (::fdatasync(file_.get()) != 0) throw system_error(errno, "fdatasync", unfinished_);
}

void NewFile::publish() {
  if (::rename(unfinished_.c_str(), path_.c_str()) != 0) throw system_error(errno, "rename", unfinished_);
  published_ = true;
}

std::optional<ReadFile> ReadFile::open(const std::filesystem::path& path, std::uint64_t size) {
  Descriptor file = open_descriptor(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file) {
    if (errno == ENOENT) return std::nullopt;
    throw system_error(errno, "opening it", path);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw system_error(errno, "fstat", path);
  if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != size) return std::nullopt;
  return ReadFile(std::move(file), path);
}

void ReadFile::read_at(std::span<std::byte> bytes, std::uint64_t offset) const {
  internal::read_at(file_.get(), bytes, offset, path_);
}

}  // namespace oncelog::internal
