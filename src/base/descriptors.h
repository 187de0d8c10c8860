#pragma once

#include <sys/types.h>

#include <filesystem>

namespace oncelog::internal {

/// The process's file descriptors as this library opens them: close-on-exec, so that no child inherits a store, and
/// never 0, 1 or 2, so that a process that has closed its standard streams does not write its warnings into one.
///
/// Thread safety: all of it, from any thread; a lock is held for moments, also while the process forks, and while a
/// ParentsDescriptor's file is opened. Cost: three system calls beside each open.

/// Owns a descriptor, and closes it. Movable.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset() noexcept;
  int release() noexcept;

 private:
  int fd_ = -1;
};

/// As open(2); empty, and errno says why, when it fails.
Descriptor open_descriptor(const std::filesystem::path& path, int flags, mode_t mode = 0);

/// While one of these lives, the descriptors 0, 1 and 2 are taken: by what the application has there, or by
/// placeholders that can be neither read nor written. For code that opens files by itself, as LMDB does.
class StandardStreamsTaken {
 public:
  StandardStreamsTaken();
  StandardStreamsTaken(const StandardStreamsTaken&) = delete;
  StandardStreamsTaken& operator=(const StandardStreamsTaken&) = delete;
  ~StandardStreamsTaken();
};

/// Sets close-on-exec.
void close_on_exec(int fd) noexcept;

/// A descriptor of the process that opened it: a child of fork() closes it at once, so that the locks of its open file
/// description last as long as the parent and not as long as the child.
class ParentsDescriptor {
 public:
  ParentsDescriptor() = default;
  ParentsDescriptor(const ParentsDescriptor&) = delete;
  ParentsDescriptor& operator=(const ParentsDescriptor&) = delete;
  ~ParentsDescriptor() { reset(); }

  /// Replaces what it holds by a newly opened file, as open(2); false, and errno says why, when that fails.
  bool open(const std::filesystem::path& path, int flags, mode_t mode = 0);
  void reset() noexcept;
  int get() const { return fd_; }  // -1 in a child.
  explicit operator bool() const { return fd_ >= 0; }

 private:
  friend struct DescriptorTable;

  int fd_ = -1;
  ParentsDescriptor* next_ = nullptr;  // Both under the table's mutex.
  ParentsDescriptor* previous_ = nullptr;
};

}  // namespace oncelog::internal
