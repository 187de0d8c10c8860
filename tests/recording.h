#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "intercept.h"
#include "support.h"

// What processes write to files, and what is synced of it.

namespace oncelog::testing {

namespace fs = std::filesystem;

inline constexpr std::size_t kMaxOps = 1 << 17;
inline constexpr std::size_t kMaxBytes = std::size_t{256} << 20;
inline constexpr std::size_t kNone = ~std::size_t{0};

enum class OpKind : std::uint8_t {
  create,        // `path` is a new, empty file.
  rename,        // `path` is `second` from now on, with all in it.
  link,          // `second` is another name of `path`.
  unlink,        // `path` is gone.
  sync_names,    // The names in directory `path` are on disk, as they were at `covers`.
  write,         // Bytes at an offset of a file.
  resize,        // A file's size is `offset`.
  sync_all,      // All writes of the file before `covers` are on disk.
  sync_one,      // The write `covers` is on disk.
  lose_all,      // Those before `covers` may never be, even when a later sync succeeds: a sync has failed.
  lose_one,      // The write `covers` may never be.
  marking,       // Message `number` was handed to mark, at `wall_us`.
  acknowledged,  // It is on disk, the store says.
  transacting,   // Transaction `number` has begun.
  committed,     // It has committed.
  nothing,       // The call failed.
};

struct Op {
  OpKind kind{};
  ino_t file = 0;
  std::uint64_t offset = 0;
  std::size_t bytes = 0;  // Of a write, at `data` of the recording's.
  std::size_t data = 0;
  std::size_t covers = kNone;
  unsigned number = 0;
  std::int64_t wall_us = 0;
  char path[64] = {};  // Relative to where the store is made.
  char second[64] = {};
};

/// In memory that the recorded processes share. Ops are in an order in which they may have happened.
struct Recording {
  Recording() {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&mutex, &attributes);
  }

  std::size_t append(Op op, std::span<const iovec> bytes = {}) {
    pthread_mutex_lock(&mutex);
    const std::size_t at = count;
    std::size_t size = 0;
    for (const iovec& part : bytes) size += part.iov_len;
    if (at == ops.size() || data_bytes + size > data.size()) {
      std::fputs("the recording is full\n", stderr);
      std::abort();
    }
    op.data = data_bytes;
    op.bytes = size;
    for (const iovec& part : bytes) {
      std::memcpy(data.data() + data_bytes, part.iov_base, part.iov_len);
      data_bytes += part.iov_len;
    }
    op.wall_us = host->wall_us();
    ops[at] = op;
    ++count;
    pthread_mutex_unlock(&mutex);
    return at;
  }

  std::size_t now() {
    pthread_mutex_lock(&mutex);
    const std::size_t at = count;
    pthread_mutex_unlock(&mutex);
    return at;
  }

  pthread_mutex_t mutex;
  const FakeHost* host = nullptr;
  std::atomic<unsigned> syncs{0};
  std::size_t count = 0;
  std::size_t data_bytes = 0;
  std::array<Op, kMaxOps> ops;
  std::array<std::byte, kMaxBytes> data;
};

/// Records what becomes of files under `root` that outlive a boot, and has the n-th sync fail, if wanted.
class Recorder final : public Interceptor {
 public:
  Recorder(fs::path root, Recording& recording, unsigned failing_sync)
      : root_(std::move(root)), recording_(recording), failing_sync_(failing_sync) {}

  int before(const Intercepted& call) override {
    begun_ = kNone;
    switch (call.call) {
      case SystemCall::pwrite:
      case SystemCall::write:
        if (const auto file = file_of(call.fd)) {
          begun_ = recording_.append(
              {.kind = OpKind::write, .file = *file, .offset = static_cast<std::uint64_t>(call.offset)}, call.bytes);
        }
        break;
      case SystemCall::ftruncate:
      case SystemCall::fallocate:
        if (const auto file = file_of(call.fd)) {
          recording_.append({.kind = OpKind::resize, .file = *file, .offset = static_cast<std::uint64_t>(call.offset)});
        }
        break;
      case SystemCall::fdatasync:
      case SystemCall::fsync:
        begun_ = recording_.now();
        break;
      case SystemCall::open: {
        struct stat status {};
        was_there_ = ::stat(call.path, &status) == 0;
        break;
      }
      case SystemCall::rename:
        if (kept(call.path) || kept(call.second_path)) begun_ = names(OpKind::rename, call.path, call.second_path);
        break;
      case SystemCall::link:
        if (kept(call.path) || kept(call.second_path)) begun_ = names(OpKind::link, call.path, call.second_path);
        break;
      case SystemCall::unlink:
        if (kept(call.path)) begun_ = names(OpKind::unlink, call.path, "");
        break;
      default:
        break;
    }
    return 0;
  }

  int after(const Intercepted& call, long result) override {
    if (result < 0) {
      const bool names =
          call.call == SystemCall::rename || call.call == SystemCall::link || call.call == SystemCall::unlink;
      if (names && begun_ != kNone) recording_.ops[begun_].kind = OpKind::nothing;
      return 0;
    }
    switch (call.call) {
      case SystemCall::open:
        if (call.creates && !was_there_ && kept(call.path)) {
          const auto file = file_of(static_cast<int>(result), call.path);
          Op op{.kind = OpKind::create, .file = *file};
          set_path(op.path, call.path);
          recording_.append(op);
        } else if (kept(call.path)) {
          file_of(static_cast<int>(result), call.path);
        }
        return 0;
      case SystemCall::pwrite:
      case SystemCall::write: {
        if (begun_ == kNone || (::fcntl(call.fd, F_GETFL) & O_DSYNC) == 0) return 0;
        const bool fails = sync_fails();
        recording_.append({.kind = fails ? OpKind::lose_one : OpKind::sync_one,
                           .file = recording_.ops[begun_].file,
                           .covers = begun_});
        return fails ? EIO : 0;
      }
      case SystemCall::fdatasync:
      case SystemCall::fsync: {
        struct stat status {};
        if (::fstat(call.fd, &status) != 0) return 0;
        if (S_ISDIR(status.st_mode)) {
          const std::string path = fs::read_symlink("/proc/self/fd/" + std::to_string(call.fd)).string();
          Op op{.kind = OpKind::sync_names, .covers = begun_};
          if (!inside(path)) return 0;
          if (sync_fails()) return EIO;  // The names may be on disk or not, as before.
          set_path(op.path, path.c_str());
          recording_.append(op);
          return 0;
        }
        if (!files_.contains(status.st_ino)) return 0;
        const bool fails = sync_fails();
        recording_.append(
            {.kind = fails ? OpKind::lose_all : OpKind::sync_all, .file = status.st_ino, .covers = begun_});
        return fails ? EIO : 0;
      }
      default:
        return 0;
    }
  }

 private:
  bool inside(std::string_view path) const {
    const std::string root = root_.string();
    return path == root || (path.starts_with(root) && path[root.size()] == '/');
  }

  /// A file whose contents matter after a boot: not what is derived, nor locks.
  bool kept(const char* path) const {
    const std::string name = fs::path(path).filename().string();
    const auto is = [&](std::string_view prefix) { return name.starts_with(prefix); };
    return inside(path) && !is("live") && !is("filter-") && !is("index-") && !is("lock.mdb") && !is("oncelog.lock");
  }

  void set_path(char (&to)[64], const char* path) const {
    const std::string text = inside(path) ? fs::path(path).lexically_relative(root_).string() : "";
    if (text.size() >= sizeof to) std::abort();
    std::memcpy(to, text.c_str(), text.size() + 1);
  }

  std::size_t names(OpKind kind, const char* path, const char* second) {
    Op op{.kind = kind};
    set_path(op.path, path);
    set_path(op.second, second);
    return recording_.append(op);
  }

  /// The number of a file that is recorded.
  std::optional<ino_t> file_of(int fd, const char* opened_as = nullptr) {
    struct stat status {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    const std::lock_guard guard(mutex_);
    if (opened_as != nullptr) files_.insert(status.st_ino);
    return files_.contains(status.st_ino) ? std::optional(status.st_ino) : std::nullopt;
  }

  bool sync_fails() { return recording_.syncs.fetch_add(1) + 1 == failing_sync_; }

  const fs::path root_;
  Recording& recording_;
  const unsigned failing_sync_;
  std::mutex mutex_;
  std::set<ino_t> files_;
  static inline thread_local std::size_t begun_ = kNone;
  static inline thread_local bool was_there_ = false;
};

}  // namespace oncelog::testing
