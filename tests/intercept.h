#pragma once

#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include <atomic>
#include <cstdint>
#include <span>

namespace oncelog::testing {

/// The calls of the C library by which a store changes its files, maps memory, starts threads and asks which file
/// system it is on, as this executable makes them: intercept.cc defines these functions, and so oncelog's, LMDB's and
/// the C++ library's calls of them come here. What the C library calls itself (fopen, malloc) does not. An executable
/// that links intercept.cc cannot be built with a sanitizer, which intercepts the same functions.
///
/// Without an Interceptor all calls are the system's. Thread-safe; an Interceptor is called by any thread.
enum class SystemCall : std::uint8_t {
  open,  // openat too
  pwrite,
  write,  // at the descriptor's position
  fdatasync,
  fsync,
  ftruncate,
  fallocate,  // posix_fallocate too
  mmap,
  msync,
  unlink,  // unlinkat too
  rename,  // renameat, renameat2
  link,
  pthread_create,
  statfs,
};
inline constexpr int kSystemCalls = 14;

const char* to_string(SystemCall call);

/// One call, before or after it is made.
struct Intercepted {
  SystemCall call;
  int fd = -1;                        // Of those that have one.
  const char* path = nullptr;         // open, unlink, statfs, rename's and link's first.
  const char* second_path = nullptr;  // rename and link.
  std::span<const iovec> bytes = {};  // pwrite and write.
  off_t offset = 0;                   // pwrite; write, where it begins; ftruncate, fallocate: the size.
  bool creates = false;               // open with O_CREAT.
  struct statfs* answer = nullptr;    // statfs: once it was made, what it says, which may be changed.
};

class Interceptor {
 public:
  virtual ~Interceptor() = default;
  /// The error number with which the call fails without being made, or 0 to make it.
  virtual int before(const Intercepted& call) = 0;
  /// After it was made: its result, -1 when it failed. The answer is an error number with which it is made to fail all
  /// the same, or 0.
  virtual int after(const Intercepted& call, long result) {
    static_cast<void>(call);
    static_cast<void>(result);
    return 0;
  }
};

/// From now on, in this process and the children that it forks; null for none.
void intercept(Interceptor* interceptor);

}  // namespace oncelog::testing
