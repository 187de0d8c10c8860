#include "output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include <oncelog/error.h>

namespace oncelog::tool {
namespace {

constexpr std::size_t kRunsPerCall = 1024;  // What Linux takes (IOV_MAX).

void wait_until_writable(int descriptor) {
  pollfd event = {descriptor, POLLOUT, 0};
  ::poll(&event, 1, -1);
}

/// One writer of a file at a time, among the processes that ask. A process's own locks do not exclude each other, and
/// those of a process that dies are free. Where the file system has no locks, all of them write.
class RecordLock {
 public:
  explicit RecordLock(int descriptor) : descriptor_(descriptor) { set(F_WRLCK); }
  ~RecordLock() { set(F_UNLCK); }
  RecordLock(const RecordLock&) = delete;
  RecordLock& operator=(const RecordLock&) = delete;

 private:
  void set(short type) const {
    struct flock whole = {};
    whole.l_type = type;
    whole.l_whence = SEEK_SET;
    while (::fcntl(descriptor_, F_SETLKW, &whole) != 0 && errno == EINTR) {
    }
  }

  int descriptor_;
};

/// Whether both are of one file; a terminal or another device is never the same.
bool are_one_file(int descriptor, int other) {
  struct stat one = {};
  struct stat two = {};
  return ::fstat(descriptor, &one) == 0 && ::fstat(other, &two) == 0 && !S_ISCHR(one.st_mode) &&
         one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

}  // namespace

Output::Output(int descriptor, std::string name, char line_end)
    : descriptor_(descriptor), owned_(false), name_(std::move(name)), line_end_(line_end) {
  look_at_file();
}

Output::Output(const std::filesystem::path& file, char line_end)
    : descriptor_(::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666)),
      owned_(true),
      name_(file.string()),
      line_end_(line_end) {
  if (descriptor_ < 0) {
    throw Error(ErrorCode::io, "cannot open '" + name_ + "' for appending: " + std::strerror(errno), file);
  }
  look_at_file();
}

Output::~Output() {
  if (reader_ >= 0) ::close(reader_);
  if (owned_) ::close(descriptor_);
}

void Output::look_at_file() {
  struct stat status = {};
  regular_ = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode);
  if (!regular_) return;
  appends_ = (::fcntl(descriptor_, F_GETFL) & O_APPEND) != 0;
  reader_ = ::open(fmt::format("/proc/self/fd/{}", descriptor_).c_str(), O_RDONLY | O_CLOEXEC);
}

bool Output::is_same_as(const Output& other) const {
  return are_one_file(descriptor_, other.descriptor_);
}

bool Output::is_read_by(int input) const {
  return regular_ && are_one_file(descriptor_, input);
}

void Output::add(std::string_view bytes) {
  if (bytes.empty()) return;
  if (!runs_.empty() && runs_.back().data() + runs_.back().size() == bytes.data()) {
    runs_.back() = {runs_.back().data(), runs_.back().size() + bytes.size()};
  } else {
    runs_.push_back(bytes);
  }
}

void Output::flush() {
  if (runs_.empty()) return;
  std::size_t written = 0;
  if (!regular_) {
    if (const int error = write_all(written); error != 0) fail(error);
    return;
  }
  const RecordLock lock(descriptor_);
  const off_t begin = position();
  if (begin > 0 && !ends_in_a_line(begin)) runs_.insert(runs_.begin(), std::string_view(&line_end_, 1));
  if (const int error = write_all(written); error != 0) {
    take_back(begin, written);
    fail(error);
  }
}

/// Where the next bytes go.
off_t Output::position() const {
  if (!appends_) return ::lseek(descriptor_, 0, SEEK_CUR);
  struct stat status = {};
  return ::fstat(descriptor_, &status) == 0 ? status.st_size : 0;
}

/// Whether the byte before this position ends a line; true when that cannot be found out.
bool Output::ends_in_a_line(off_t end) const {
  char last = line_end_;
  return ::pread(reader_, &last, 1, end - 1) != 1 || last == line_end_;
}

/// Writes all runs, or as many bytes as possible, and forgets them. Returns 0, or what errno was.
int Output::write_all(std::size_t& written) {
  int error = 0;
  std::span<std::string_view> left = runs_;
  while (!left.empty() && error == 0) {
    const ssize_t count = write_some(left);
    if (count < 0) {
      error = errno;
      if (error == EAGAIN) wait_until_writable(descriptor_);
      if (error == EAGAIN || error == EINTR) error = 0;
      continue;
    }
    auto bytes = static_cast<std::size_t>(count);
    written += bytes;
    while (!left.empty() && bytes >= left.front().size()) {
      bytes -= left.front().size();
      left = left.subspan(1);
    }
    if (bytes != 0) left.front().remove_prefix(bytes);
  }
  runs_.clear();
  return error;
}

ssize_t Output::write_some(std::span<const std::string_view> runs) {
  std::array<iovec, kRunsPerCall> vectors;
  const std::size_t count = std::min(runs.size(), vectors.size());
  for (std::size_t i = 0; i != count; ++i) {
    vectors[i] = {const_cast<char*>(runs[i].data()), runs[i].size()};
  }
  return ::writev(descriptor_, vectors.data(), static_cast<int>(count));
}

/// Removes the last bytes written, which end in a torn line. All of them, not the torn line alone: their ids are not
/// marked, and the next run passes them again. Only while they are the file's last.
void Output::take_back(off_t begin, std::size_t written) {
  struct stat status = {};
  const off_t end = begin + static_cast<off_t>(written);
  if (written == 0 || ::fstat(descriptor_, &status) != 0 || status.st_size != end) return;
  if (::ftruncate(descriptor_, begin) == 0 && !appends_) ::lseek(descriptor_, begin, SEEK_SET);
}

void Output::fail(int error) const {
  if (error == EPIPE) throw ClosedOutput{};
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(full ? ErrorCode::full : ErrorCode::io, "cannot write to " + name_ + ": " + std::strerror(error));
}

void Output::sync() {
  if (::fdatasync(descriptor_) == 0 || errno == EINVAL || errno == EROFS) return;
  throw Error(ErrorCode::io, "cannot write " + name_ + " to disk: " + std::strerror(errno));
}

void fail_on(const std::filesystem::path& file, const char* call) {
  throw Error(ErrorCode::io, fmt::format("{}: {}: {}", file.string(), call, std::strerror(errno)), file);
}

Output standard_output(char line_end) {
  return Output(STDOUT_FILENO, "standard output", line_end);
}

}  // namespace oncelog::tool
