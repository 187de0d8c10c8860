#include "base/descriptors.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>
#include <utility>

namespace oncelog::internal {

/// What a child of fork() has to close, and the placeholders.
struct DescriptorTable {
  std::mutex mutex;
  ParentsDescriptor* first = nullptr;
  int takers = 0;  // StandardStreamsTaken objects.
  std::array<int, 3> placeholders{-1, -1, -1};

  void release_placeholders() noexcept {
    for (int& fd : placeholders) {
      if (fd < 0) continue;
      // Unless the application has put a stream of its own there meanwhile, by dup2().
      const int flags = ::fcntl(fd, F_GETFL);
      if (flags != -1 && (flags & O_PATH) != 0) ::close(fd);
      fd = -1;
    }
  }

  /// In the child, whose only thread this is.
  void close_parents() noexcept {
    for (ParentsDescriptor* each = std::exchange(first, nullptr); each != nullptr;) {
      if (each->fd_ >= 0) ::close(each->fd_);
      each->fd_ = -1;
      each->previous_ = nullptr;
      each = std::exchange(each->next_, nullptr);
    }
    // The threads that took them are the parent's.
    takers = 0;
    release_placeholders();
  }
};

namespace {

/// Never destroyed: stores may outlive static objects.
DescriptorTable& table() {
  static auto* const instance = new DescriptorTable;
  return *instance;
}

// When the program is loaded, so that no fork comes before it. The mutex is held over the fork.
[[maybe_unused]] const int kWatched = pthread_atfork([] { table().mutex.lock(); }, [] { table().mutex.unlock(); },
                                                     [] {
                                                       table().close_parents();
                                                       table().mutex.unlock();
                                                     });

constexpr int kFirstOwn = 3;

/// As open(2), while the standard streams are taken.
Descriptor open_above_streams(const std::filesystem::path& path, int flags, mode_t mode) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  const int error_number = errno;
  Descriptor file(fd);
  if (fd >= 0 && fd < kFirstOwn) {
    // A stream was closed at this very moment.
    file = Descriptor(::fcntl(fd, F_DUPFD_CLOEXEC, kFirstOwn));
    return file;
  }
  errno = error_number;
  return file;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

void Descriptor::reset() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

int Descriptor::release() noexcept {
  return std::exchange(fd_, -1);
}

Descriptor open_descriptor(const std::filesystem::path& path, int flags, mode_t mode) {
  const StandardStreamsTaken taken;
  return open_above_streams(path, flags, mode);
}

StandardStreamsTaken::StandardStreamsTaken() {
  DescriptorTable& all = table();
  const std::lock_guard guard(all.mutex);
  if (all.takers++ != 0) return;
  for (int fd = 0; fd < kFirstOwn; ++fd) {
    if (::fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest that is free, which is this one. The root directory is always there to be opened as a mere path.
    all.placeholders[static_cast<std::size_t>(fd)] = ::open("/", O_PATH | O_CLOEXEC);
  }
}

StandardStreamsTaken::~StandardStreamsTaken() {
  DescriptorTable& all = table();
  const int error_number = errno;
  const std::lock_guard guard(all.mutex);
  // In a child that was forked meanwhile there is none left to give back.
  if (all.takers != 0 && --all.takers == 0) all.release_placeholders();
  errno = error_number;
}

void close_on_exec(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFD);
  if (flags != -1) ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

bool ParentsDescriptor::open(const std::filesystem::path& path, int flags, mode_t mode) {
  reset();
  const StandardStreamsTaken taken;
  DescriptorTable& all = table();
  // From before the file is opened: a child that is forked in between would not know what to close.
  const std::lock_guard guard(all.mutex);
  Descriptor file = open_above_streams(path, flags, mode);
  if (!file) return false;
  fd_ = file.release();
  next_ = all.first;
  if (next_ != nullptr) next_->previous_ = this;
  all.first = this;
  return true;
}

void ParentsDescriptor::reset() noexcept {
  DescriptorTable& all = table();
  const std::lock_guard guard(all.mutex);
  if (fd_ < 0) return;
  ::close(std::exchange(fd_, -1));
  if (next_ != nullptr) next_->previous_ = previous_;
  (previous_ != nullptr ? previous_->next_ : all.first) = next_;
  next_ = previous_ = nullptr;
}

}  // namespace oncelog::internal
