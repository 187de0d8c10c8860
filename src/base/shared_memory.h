#pragma once

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <oncelog/error.h>

#include "base/thread_annotations.h"

namespace oncelog::internal {

/// What shared memory between processes is made of: a mapped file, a robust mutex in it, and a futex to wait on.
/// Objects that live in mapped memory hold offsets, never pointers, and are lock-free atomics of a fixed size.
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(std::atomic<std::uint64_t>) == 8 &&
              alignof(std::atomic<std::uint64_t>) == 8);
static_assert(std::atomic<std::int64_t>::is_always_lock_free && sizeof(std::atomic<std::int64_t>) == 8);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(std::atomic<std::uint32_t>) == 4 &&
              alignof(std::atomic<std::uint32_t>) == 4);

/// Root must not lock a store's owner out by being the first to make a file: what root makes belongs to the owner of
/// its directory.
void give_to_owner_of_directory(int fd, const std::filesystem::path& path);

/// Throws Error::full unless so many bytes are free on the file system of `path`. For what is allocated in several
/// steps, so that it is not begun where it can never be completed.
void require_room(const std::filesystem::path& path, std::uint64_t bytes);

/// A file mapped shared, readable and writable. Its blocks are allocated before anyone stores into it, so that a full
/// disk is an Error at creation and never a SIGBUS later. Movable; the destructor unmaps.
class MappedFile {
 public:
  /// Makes a new file of `size` zero bytes, in place of any of that name (which stays mapped where it is). Error: full,
  /// no_permission, io; unsupported on a file system where allocated blocks are no room (see in_place.h).
  static MappedFile create(const std::filesystem::path& path, std::size_t size) { return create(path, size, size); }
  /// The same, but only the first `allocated` bytes are allocated: nobody may touch what is beyond before allocate().
  static MappedFile create(const std::filesystem::path& path, std::size_t size, std::size_t allocated);
  /// Allocates `bytes` from `from` on of such a file. Throws as create.
  static void allocate(const std::filesystem::path& path, std::size_t from, std::size_t bytes);

  /// Writes into such a file, which is mapped or not: a page that is written whole costs no page fault, and is neither
  /// read nor zeroed before. Any thread. Error: io.
  static void write(const std::filesystem::path& path, std::size_t at, std::span<const std::byte> bytes);
  /// Reads from it. Error: io, also where it ends before.
  static void read(const std::filesystem::path& path, std::size_t at, std::span<std::byte> bytes);

  /// Maps an existing regular file of at least `min_size` bytes whole; nothing when there is none, or a smaller one.
  static std::optional<MappedFile> open(const std::filesystem::path& path, std::size_t min_size);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

  /// Maps what was allocated of such pages now, for stores that would fault at each page. Costs half of those faults.
  void touch(std::size_t from, std::size_t bytes) noexcept;

  /// Gives the space of whole pages from `from` on back to the file system; they read as zeros. Nobody may touch them
  /// after: there may be no space for them then. Has no effect on a file system without holes.
  void give_back(std::size_t from) noexcept;

 private:
  MappedFile(std::byte* data, std::size_t size) : data_(data), size_(size) {}

  std::byte* data_;
  std::size_t size_;
};

/// A lock of a store could not be taken within the thread's LockLimit. Nothing was changed.
class LockTimeout : public Error {
 public:
  LockTimeout(std::string_view sentence, std::filesystem::path path)
      : Error(ErrorCode::in_use, std::string(sentence), std::move(path)) {}
};

/// While one of these lives its thread waits no longer than this for any one lock of a store, and gets a LockTimeout
/// instead. A thread without one waits for as long as it takes.
class LockLimit {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kNone = std::chrono::microseconds::max();

  explicit LockLimit(std::chrono::microseconds limit) : outer_(limit_) { limit_ = std::min(limit_, limit); }
  LockLimit(const LockLimit&) = delete;
  LockLimit& operator=(const LockLimit&) = delete;
  ~LockLimit() { limit_ = outer_; }

  /// Until when a wait that begins now may last; Clock::time_point::max() without a limit.
  static Clock::time_point deadline() { return limit_ == kNone ? Clock::time_point::max() : Clock::now() + limit_; }

 private:
  static inline thread_local constinit std::chrono::microseconds limit_ = kNone;

  const std::chrono::microseconds outer_;
};

/// A mutex in shared memory that survives the death of its owner: the next one to lock it learns of the death and
/// continues.
class CAPABILITY("mutex") RobustMutex {
 public:
  /// Called once on zeroed shared memory, before any other process can see it.
  void initialise();

  /// Waits for it, within the thread's LockLimit; a wake-up lost to a killed waiter costs 10 ms. Returns true when the
  /// previous owner died while holding it; whatever that one guarded must be consistent at every instruction. Acquires
  /// from unlock(), and from everything a dead owner did. Throws LockTimeout, and Error::corrupt when the memory is no
  /// mutex.
  bool lock() ACQUIRE();
  void unlock() noexcept RELEASE();

  /// For its owner: whether somebody sleeps until it is unlocked. True where that cannot be known.
  bool awaited() const;

  /// For the only process that has the memory mapped, before it locks: frees a mutex that nobody can ever lock again,
  /// because its memory is damaged. Returns whether it was damaged; one whose owner died is left to lock().
  bool mend();

 private:
  int try_for_a_while();

  pthread_mutex_t mutex_;
};
static_assert(sizeof(RobustMutex) <= 64);

/// Sleeps until *word is no longer `seen`, a wake-up, the time limit, or for no reason at all: callers look again.
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t seen, std::chrono::microseconds limit);
void futex_wake_all(const std::atomic<std::uint32_t>& word) noexcept;

}  // namespace oncelog::internal
