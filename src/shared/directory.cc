#include "shared/directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/in_place.h"
#include "base/message_hash.h"
#include "base/shared_memory.h"

namespace oncelog::internal {
namespace {

/// Whether it is on a file system whose shared mappings and locks are not what LMDB needs.
bool is_network_filesystem(const std::filesystem::path& directory) {
  struct statfs status {};
  if (::statfs(directory.c_str(), &status) != 0) throw system_error(errno, "statfs", directory);
  switch (static_cast<std::uint32_t>(status.f_type)) {
    case 0x6969:      // NFS
    case 0x517B:      // SMB
    case 0xFF534D42:  // CIFS
    case 0xFE534D42:  // SMB2
    case 0x5346414F:  // AFS
    case 0x00C36400:  // Ceph
    case 0x0BD00BD0:  // Lustre
    case 0x01021997:  // 9p
    case 0x47504653:  // GPFS
    case 0x65735546:  // FUSE, behind which there may be any of these
      return true;
    default:
      return false;
  }
}

struct Owner {
  bool may_be_foreign;
};

/// Makes the names in a directory durable. Syncing a directory that may be foreign and must not be read is left to its
/// owner.
void sync_names(const std::filesystem::path& directory, Owner owner) {
  const Descriptor file = open_descriptor(directory, O_RDONLY | O_DIRECTORY);
  if (file && ::fsync(file.get()) == 0) return;
  // The file system has no fsync for directories, such as a read-only one or an automounter's on which the store's own
  // is mounted.
  if (file && errno == EINVAL) return;
  if (owner.may_be_foreign && errno == EACCES) return;
  throw system_error(errno, "fsync", directory);
}

/// Makes a directory and the missing ones above it. Their names are on disk when it returns.
void make_directories(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> missing;
  std::error_code failed;
  for (std::filesystem::path path = std::filesystem::absolute(directory); !std::filesystem::exists(path, failed);
       path = path.parent_path()) {
    if (failed) throw system_error(failed.value(), "looking at it", path);
    // "a/" is a path to nothing within "a".
    if (path.has_filename() && path.filename() != "." && path.filename() != "..") missing.push_back(path);
    if (!path.has_relative_path()) break;
  }
  for (auto path = missing.rbegin(); path != missing.rend(); ++path) {
    std::filesystem::create_directory(*path, failed);
    if (failed) throw system_error(failed.value(), "creating it", *path);
    sync_names(path->parent_path(), {.may_be_foreign = true});
  }
}

}  // namespace

namespace {

/// Whether a program that is not a user of the store, such as mdb_copy, has lock.mdb open by LMDB.
bool locked_by_lmdb(int fd, const std::filesystem::path& path) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0) throw system_error(errno, "asking for its locks", path);
  return lock.l_type != F_UNLCK;
}

}  // namespace

Error no_store(const std::filesystem::path& directory) {
  return error_at(ErrorCode::not_found, directory,
                  "there is no oncelog store; correct the path, or let a first mark create it");
}

void check_directory(const std::filesystem::path& directory, const Options& options) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const fs::file_status status = fs::status(directory, failed);
  const bool may_create = options.create && !options.read_only;
  if (status.type() == fs::file_type::not_found) {
    if (!may_create) throw no_store(directory);
    make_directories(directory);
  } else if (failed) {
    throw system_error(failed.value(), "looking at it", directory);
  } else if (status.type() != fs::file_type::directory) {
    throw error_at(ErrorCode::not_a_store, directory, "is not a directory; a store is one");
  }
  if (!options.allow_network_filesystem && is_network_filesystem(directory)) {
    throw error_at(
        ErrorCode::unsupported, directory,
        "is on a network file system (or on FUSE, behind which may be one), where a store's promises cannot be "
        "kept; use a local one, or insist with allow_network_filesystem");
  }
  const fs::path data = directory / "data.mdb";
  struct stat data_status {};
  if (::stat(data.c_str(), &data_status) != 0) {
    if (errno != ENOENT) throw system_error(errno, "stat", data);
    // Only a directory that is empty, or holds what an interrupted creation left, becomes a store.
    fs::directory_iterator entries(directory, failed);
    if (failed) throw system_error(failed.value(), "reading it", directory);
    for (const auto& entry : entries) {
      const std::string name = entry.path().filename().string();
      if (name == "oncelog.lock" || name == "lock.mdb" || name.starts_with(kNewDataPrefix)) continue;
      if (::stat(data.c_str(), &data_status) == 0) break;  // Another process is creating the store at this moment.
      throw error_at(ErrorCode::not_a_store, directory,
                     "holds other files (\"{}\") and no oncelog store; name an empty or a new directory", name);
    }
    if (!may_create) throw no_store(directory);
    if (::stat(directory.c_str(), &data_status) != 0) throw system_error(errno, "stat", directory);
  }
  if (!options.allow_foreign_owner && data_status.st_uid != ::geteuid() && data_status.st_uid != 0) {
    throw error_at(ErrorCode::no_permission, directory,
                   "belongs to user {}, neither to this one nor to root; a hostile store can crash its "
                   "reader; insist with allow_foreign_owner",
                   data_status.st_uid);
  }
}

Uuid store_file_id_of(const std::filesystem::path& directory, const Uuid& store_id) {
  const std::filesystem::path data = directory / "data.mdb";
  struct statx status {};
  if (::statx(AT_FDCWD, data.c_str(), 0, STATX_INO | STATX_BTIME, &status) != 0) {
    throw system_error(errno, "statx", data);
  }
  std::array<std::uint64_t, 3> place{status.stx_ino};
  if ((status.stx_mask & STATX_BTIME) != 0) {
    // When the file was made, which no copy keeps. Not where it is: device numbers may change when the file system is
    // mounted again, and some file systems, XFS among them, use them as their ids.
    place[1] = static_cast<std::uint64_t>(status.stx_btime.tv_sec);
    place[2] = status.stx_btime.tv_nsec;
  } else {
    struct statfs filesystem {};
    if (::statfs(data.c_str(), &filesystem) != 0) throw system_error(errno, "statfs", data);
    static_assert(sizeof filesystem.f_fsid == sizeof place[1]);
    std::memcpy(&place[1], &filesystem.f_fsid, sizeof place[1]);
    if (place[1] == 0) place[1] = std::uint64_t{status.stx_dev_major} << 32 | status.stx_dev_minor;
  }
  Uuid store_file_id = store_id;
  const XXH128_canonical_t hash = [&] {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(place.data(), sizeof place));
    return canonical;
  }();
  for (std::size_t i = 0; i < store_file_id.size(); ++i) store_file_id[i] ^= hash.digest[i];
  return store_file_id;
}

void sync_directory(const std::filesystem::path& directory, bool may_be_unreadable) {
  sync_names(directory, {.may_be_foreign = may_be_unreadable});
  sync_names(std::filesystem::absolute(directory).parent_path(), {.may_be_foreign = true});
}

void prepare_lock_file(const std::filesystem::path& directory, unsigned max_readers) {
  // LMDB's layout: a header of at most four cache lines, and one cache line for each reader. LMDB accepts a larger file
  // as it is.
  constexpr off_t kCacheLine = 64;
  const off_t bytes = (off_t{max_readers} + 4) * kCacheLine;
  const std::filesystem::path path = directory / "lock.mdb";
  Descriptor file = open_descriptor(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0660);
  if (!file) throw system_error(errno, "opening it", path);
  if (request_in_place(file.get(), path) == WritesInPlace::not_now && !locked_by_lmdb(file.get(), path)) {
    // One that an earlier version made, and that nobody uses.
    if (::unlink(path.c_str()) != 0) throw system_error(errno, "unlink", path);
    file = open_descriptor(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0660);
    if (!file) throw system_error(errno, "creating it", path);
    request_in_place(file.get(), path);
  }
  give_to_owner_of_directory(file.get(), path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw system_error(errno, "fstat", path);
  // The size stays as it is: LMDB derives the number of readers from it.
  if (::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, std::max(bytes, status.st_size)) == 0) return;
  int error_number = errno;
  if (error_number == EOPNOTSUPP || error_number == ENOSYS) {
    error_number = ::posix_fallocate(file.get(), 0, std::max(bytes, status.st_size));
  }
  if (error_number != 0) throw system_error(error_number, "allocating lock.mdb", path);
}

}  // namespace oncelog::internal
