#include "base/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/in_place.h"
#include "base/whole_file.h"

namespace oncelog::internal {
namespace {

// How long a thread sleeps for a mutex before it looks again. A robust mutex can lose a wake-up: an unlock wakes one
// waiter, a thread that comes by takes the free mutex without knowing of any waiter, and the woken one is killed before
// it could note that there are more; those then sleep although the mutex is free. Nothing in user space can see that,
// so every waiter has to look.
constexpr long kMaxSleepNs = 10'000'000;

/// Lets the processor's other thread run, and the owner's cache line be.
void pause(int times) {
  for (int i = 0; i < times; ++i) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");
#endif
  }
}

std::byte* map_shared(int fd, std::size_t size, const std::filesystem::path& path) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) throw system_error(errno, "mmap", path);
  return static_cast<std::byte*>(at);
}

void allocate_in(int fd, std::size_t from, std::size_t bytes, const std::filesystem::path& path) {
  int error_number = 0;
  do {
    error_number = ::posix_fallocate(fd, static_cast<off_t>(from), static_cast<off_t>(bytes));
  } while (error_number == EINTR);
  if (error_number != 0) throw system_error(error_number, fmt::format("allocating {} bytes", bytes).c_str(), path);
}

}  // namespace

void give_to_owner_of_directory(int fd, const std::filesystem::path& path) {
  struct stat directory {};
  if (::geteuid() == 0 && ::stat(path.parent_path().c_str(), &directory) == 0 &&
      ::fchown(fd, directory.st_uid, directory.st_gid) != 0) {
    throw system_error(errno, "fchown", path);
  }
}

void require_room(const std::filesystem::path& path, std::uint64_t bytes) {
  struct statvfs filesystem {};
  if (::statvfs(path.c_str(), &filesystem) != 0) throw system_error(errno, "statvfs", path);
  // A tmpfs without a limit says that it has no block at all.
  if (filesystem.f_blocks == 0 || bytes / filesystem.f_frsize < filesystem.f_bavail) return;
  throw error_at(ErrorCode::full, path, "no room for {} bytes", bytes);
}

MappedFile MappedFile::create(const std::filesystem::path& path, std::size_t size, std::size_t allocated) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", path);
  const Descriptor file = open_descriptor(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0660);
  if (!file) throw system_error(errno, "creating it", path);
  give_to_owner_of_directory(file.get(), path);
  try {
    require_in_place(file.get(), path);
  } catch (const Error&) {
    ::unlink(path.c_str());
    throw;
  }
  try {
    allocate_in(file.get(), 0, allocated, path);
    if (allocated < size && ::ftruncate(file.get(), static_cast<off_t>(size)) != 0)
      throw system_error(errno, "ftruncate", path);
  } catch (const Error&) {
    ::unlink(path.c_str());
    throw;
  }
  return MappedFile(map_shared(file.get(), size, path), size);
}

void MappedFile::allocate(const std::filesystem::path& path, std::size_t from, std::size_t bytes) {
  const Descriptor file = open_descriptor(path, O_RDWR | O_NOFOLLOW);
  if (!file) throw system_error(errno, "opening it", path);
  allocate_in(file.get(), from, bytes, path);
}

void MappedFile::write(const std::filesystem::path& path, std::size_t at, std::span<const std::byte> bytes) {
  write_at(open_to_write(path).get(), bytes, at, path);
}

void MappedFile::read(const std::filesystem::path& path, std::size_t at, std::span<std::byte> bytes) {
  const Descriptor file = open_descriptor(path, O_RDONLY | O_NOFOLLOW);
  if (!file) throw system_error(errno, "opening it", path);
  read_at(file.get(), bytes, at, path);
}

std::optional<MappedFile> MappedFile::open(const std::filesystem::path& path, std::size_t min_size) {
  const Descriptor file = open_descriptor(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  if (!file) {
    if (errno == ENOENT) return std::nullopt;
    throw system_error(errno, "opening it", path);
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw system_error(errno, "fstat", path);
  if (!S_ISREG(status.st_mode) || static_cast<std::size_t>(status.st_size) < min_size || status.st_size == 0) {
    return std::nullopt;
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  return MappedFile(map_shared(file.get(), size, path), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

void MappedFile::give_back(std::size_t from) noexcept {
  ::madvise(data_ + from, size_ - from, MADV_REMOVE);
}

void MappedFile::touch(std::size_t from, std::size_t bytes) noexcept {
#ifdef MADV_POPULATE_WRITE
  // Only advice: what it leaves out is mapped when it is first stored into.
  ::madvise(data_ + from, std::min(bytes, size_ - from), MADV_POPULATE_WRITE);
#else
  (void)from, (void)bytes;
#endif
}

/// In pieces of some milliseconds: meanwhile no other thread of the process can map a file, and page faults wait behind
/// one that tries.
MappedFile::~MappedFile() {
  constexpr std::size_t kPieceBytes = std::size_t{32} << 20;
  for (std::size_t at = 0; at < size_; at += kPieceBytes) ::munmap(data_ + at, std::min(kPieceBytes, size_ - at));
}

void RobustMutex::initialise() {
  pthread_mutexattr_t attributes;
  int error_number = pthread_mutexattr_init(&attributes);
  if (error_number == 0) error_number = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  if (error_number == 0) error_number = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (error_number == 0) error_number = pthread_mutex_init(&mutex_, &attributes);
  pthread_mutexattr_destroy(&attributes);
  if (error_number != 0) {
    throw Error(ErrorCode::unsupported,
                fmt::format("this system has no robust process-shared mutex: {}", std::strerror(error_number)));
  }
}

/// If its owner runs, a hold is shorter than to sleep and be woken takes. Some microseconds in all.
int RobustMutex::try_for_a_while() {
  constexpr int kTries = 16;
  int error_number = pthread_mutex_trylock(&mutex_);
  for (int tries = 1; error_number == EBUSY && tries < kTries; ++tries) {
    pause(tries);
    error_number = pthread_mutex_trylock(&mutex_);
  }
  return error_number;
}

bool RobustMutex::lock() {
  int error_number = try_for_a_while();
  if (error_number == EBUSY) [[unlikely]] {
    const auto deadline = LockLimit::deadline();
    const bool limited = deadline != LockLimit::Clock::time_point::max();
    while (error_number == EBUSY || error_number == ETIMEDOUT) {
      if (limited && LockLimit::Clock::now() >= deadline) {
        throw LockTimeout("another thread or process holds the store's lock", {});
      }
#ifdef __SANITIZE_THREAD__
      // ThreadSanitizer does not know a timed lock that finds its owner dead.
      sched_yield();
      error_number = pthread_mutex_trylock(&mutex_);
#else
      timespec limit{};
      clock_gettime(CLOCK_MONOTONIC, &limit);
      long sleep_ns = kMaxSleepNs;
      if (limited) {
        const auto left = std::chrono::ceil<std::chrono::nanoseconds>(deadline - LockLimit::Clock::now());
        sleep_ns = std::clamp<long>(left.count(), 0, kMaxSleepNs);
      }
      limit.tv_nsec += sleep_ns;
      if (limit.tv_nsec >= 1'000'000'000) {
        limit.tv_nsec -= 1'000'000'000;
        ++limit.tv_sec;
      }
      error_number = pthread_mutex_clocklock(&mutex_, CLOCK_MONOTONIC, &limit);
#endif
    }
  }
  if (error_number == 0) return false;
  if (error_number == EOWNERDEAD) {
    pthread_mutex_consistent(&mutex_);
    return true;
  }
  throw Error(ErrorCode::corrupt,
              fmt::format("the lock in the store's shared memory is damaged: {}", std::strerror(error_number)));
}

bool RobustMutex::awaited() const {
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__)
  // Relaxed: a hint. A waiter sets the mark before it sleeps; the unlock clears it with the rest.
  const auto lock = __atomic_load_n(&mutex_.__data.__lock, __ATOMIC_RELAXED);
  return (static_cast<std::uint32_t>(lock) & FUTEX_WAITERS) != 0;
#else
  return true;
#endif
}

bool RobustMutex::mend() {
#ifdef __GLIBC__
  RobustMutex fresh{};
  fresh.initialise();
  const auto& ours = mutex_.__data;
  // The kernel marks a lock whose owner died. Without that mark a sound one is free and has no owner.
  const bool abandoned = (static_cast<std::uint32_t>(ours.__lock) & FUTEX_OWNER_DIED) != 0;
  const bool free = ours.__lock == 0 && ours.__owner == 0;
  if (ours.__kind == fresh.mutex_.__data.__kind && (abandoned || free)) return false;
  std::memset(static_cast<void*>(&mutex_), 0, sizeof mutex_);
  initialise();
  return true;
#else
  return false;  // How a mutex is laid out is not known here.
#endif
}

void RobustMutex::unlock() noexcept {
  pthread_mutex_unlock(&mutex_);
}

void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen, std::chrono::microseconds limit) {
  if (limit.count() <= 0) return;
  timespec timeout{};
  timeout.tv_sec = limit.count() / 1'000'000;
  timeout.tv_nsec = limit.count() % 1'000'000 * 1'000;
  // Any failure (EAGAIN, EINTR, ETIMEDOUT) means "look again", which every caller does.
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace oncelog::internal
