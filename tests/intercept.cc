// Each function has two names where files may have 32-bit offsets; off_t has 64 bits under both on the systems here.
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#include "intercept.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>

namespace oncelog::testing {
namespace {

static_assert(sizeof(off_t) == 8 && sizeof(off64_t) == 8);
static_assert(sizeof(struct statfs) == sizeof(struct statfs64));

std::atomic<Interceptor*> active{nullptr};

/// Makes the call unless the interceptor has it fail: `made` is one system call, by number, so that it does not come
/// back here.
template <typename Made>
auto pass(const Intercepted& call, Made made) -> decltype(made()) {
  // Acquire: pairs with the release in intercept.
  Interceptor* interceptor = active.load(std::memory_order_acquire);
  if (interceptor == nullptr) return made();
  const int error_before = errno;
  if (const int refused = interceptor->before(call); refused != 0) {
    errno = refused;
    return static_cast<decltype(made())>(-1);
  }
  errno = error_before;
  const auto result = made();
  const int error_number = errno;
  const int failed = interceptor->after(call, static_cast<long>(result));
  errno = failed != 0 ? failed : error_number;
  return failed != 0 ? static_cast<decltype(made())>(-1) : result;
}

ssize_t write_at(int fd, std::span<const iovec> bytes, off_t offset) {
  return pass({.call = SystemCall::pwrite, .fd = fd, .bytes = bytes, .offset = offset}, [&] {
    return static_cast<ssize_t>(
        syscall(SYS_pwritev, fd, bytes.data(), bytes.size(), static_cast<long>(offset), static_cast<long>(0)));
  });
}

ssize_t write_here(int fd, std::span<const iovec> bytes) {
  // Relaxed: only whether the position is wanted.
  const off_t offset = active.load(std::memory_order_relaxed) == nullptr ? 0 : lseek(fd, 0, SEEK_CUR);
  return pass({.call = SystemCall::write, .fd = fd, .bytes = bytes, .offset = offset},
              [&] { return static_cast<ssize_t>(syscall(SYS_writev, fd, bytes.data(), bytes.size())); });
}

int open_at(int directory, const char* path, int flags, mode_t mode) {
  return pass({.call = SystemCall::open, .path = path, .creates = (flags & O_CREAT) != 0},
              [&] { return static_cast<int>(syscall(SYS_openat, directory, path, flags, mode)); });
}

int truncate_to(int fd, off_t size) {
  return pass({.call = SystemCall::ftruncate, .fd = fd, .offset = size},
              [&] { return static_cast<int>(syscall(SYS_ftruncate, fd, size)); });
}

int allocate(int fd, int mode, off_t offset, off_t size) {
  return pass({.call = SystemCall::fallocate, .fd = fd, .offset = offset + size},
              [&] { return static_cast<int>(syscall(SYS_fallocate, fd, mode, offset, size)); });
}

/// As posix_fallocate, which returns the error.
int allocate_or_error(int fd, off_t offset, off_t size) {
  const int error_before = errno;
  const int result = allocate(fd, 0, offset, size) == 0 ? 0 : errno;
  errno = error_before;
  return result;
}

void* map(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  return reinterpret_cast<void*>(pass({.call = SystemCall::mmap, .fd = fd}, [&] {
    return static_cast<std::intptr_t>(syscall(SYS_mmap, at, size, protection, flags, fd, offset));
  }));
}

mode_t mode_of(int flags, va_list arguments) {
  const bool has_mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  return has_mode ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

const char* to_string(SystemCall call) {
  constexpr const char* kNames[] = {"open", "pwrite", "write",  "fdatasync", "fsync", "ftruncate",      "fallocate",
                                    "mmap", "msync",  "unlink", "rename",    "link",  "pthread_create", "statfs"};
  static_assert(std::size(kNames) == kSystemCalls);
  return kNames[static_cast<int>(call)];
}

void intercept(Interceptor* interceptor) {
  active.store(interceptor, std::memory_order_release);  // Pairs with the acquire in pass.
}

}  // namespace oncelog::testing

using namespace oncelog::testing;

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(directory, path, flags, mode);
}

int openat64(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_at(directory, path, flags, mode);
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  const iovec one{const_cast<void*>(bytes), size};
  return write_at(fd, {&one, 1}, offset);
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  return pwrite(fd, bytes, size, offset);
}
ssize_t pwritev(int fd, const iovec* bytes, int count, off_t offset) {
  return write_at(fd, {bytes, static_cast<size_t>(count)}, offset);
}
ssize_t pwritev64(int fd, const iovec* bytes, int count, off64_t offset) {
  return pwritev(fd, bytes, count, offset);
}
ssize_t write(int fd, const void* bytes, size_t size) {
  const iovec one{const_cast<void*>(bytes), size};
  return write_here(fd, {&one, 1});
}
ssize_t writev(int fd, const iovec* bytes, int count) {
  return write_here(fd, {bytes, static_cast<size_t>(count)});
}

int fdatasync(int fd) {
  return pass({.call = SystemCall::fdatasync, .fd = fd}, [&] { return static_cast<int>(syscall(SYS_fdatasync, fd)); });
}
int fsync(int fd) {
  return pass({.call = SystemCall::fsync, .fd = fd}, [&] { return static_cast<int>(syscall(SYS_fsync, fd)); });
}

int ftruncate(int fd, off_t size) noexcept {
  return truncate_to(fd, size);
}
int ftruncate64(int fd, off64_t size) noexcept {
  return truncate_to(fd, size);
}
int fallocate(int fd, int mode, off_t offset, off_t size) {
  return allocate(fd, mode, offset, size);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  return allocate(fd, mode, offset, size);
}
int posix_fallocate(int fd, off_t offset, off_t size) {
  return allocate_or_error(fd, offset, size);
}
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
  return allocate_or_error(fd, offset, size);
}

void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  return map(at, size, protection, flags, fd, offset);
}
void* mmap64(void* at, size_t size, int protection, int flags, int fd, off64_t offset) noexcept {
  return map(at, size, protection, flags, fd, offset);
}
int msync(void* at, size_t size, int flags) {
  return pass({.call = SystemCall::msync}, [&] { return static_cast<int>(syscall(SYS_msync, at, size, flags)); });
}

int unlink(const char* path) noexcept {
  return pass({.call = SystemCall::unlink, .path = path},
              [&] { return static_cast<int>(syscall(SYS_unlinkat, AT_FDCWD, path, 0)); });
}
int unlinkat(int directory, const char* path, int flags) noexcept {
  return pass({.call = SystemCall::unlink, .path = path},
              [&] { return static_cast<int>(syscall(SYS_unlinkat, directory, path, flags)); });
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept {
  return pass({.call = SystemCall::rename, .path = from, .second_path = to},
              [&] { return static_cast<int>(syscall(SYS_renameat2, from_directory, from, to_directory, to, flags)); });
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  return renameat2(from_directory, from, to_directory, to, 0);
}
int rename(const char* from, const char* to) noexcept {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}
int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) noexcept {
  return pass({.call = SystemCall::link, .path = from, .second_path = to},
              [&] { return static_cast<int>(syscall(SYS_linkat, from_directory, from, to_directory, to, flags)); });
}
int link(const char* from, const char* to) noexcept {
  return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int statfs(const char* path, struct statfs* answer) noexcept {
  return pass({.call = SystemCall::statfs, .path = path, .answer = answer},
              [&] { return static_cast<int>(syscall(SYS_statfs, path, answer)); });
}
int statfs64(const char* path, struct statfs64* answer) noexcept {
  return statfs(path, reinterpret_cast<struct statfs*>(answer));
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) noexcept {
  // The system's own, found by name: there is no call by number that makes a thread of the C library.
  static const auto real = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
  int error_number = 0;
  const int result = pass({.call = SystemCall::pthread_create}, [&] {
    error_number = real(thread, attributes, body, argument);
    return error_number == 0 ? 0 : -1;
  });
  if (result == 0) return 0;
  return error_number != 0 ? error_number : errno;
}

}  // extern "C"
