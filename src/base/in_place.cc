#include "base/in_place.h"

#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdint>

#include "base/error.h"
#include "base/shared_memory.h"

namespace oncelog::internal {

WritesInPlace request_in_place(int fd, const std::filesystem::path& path) {
  struct statfs filesystem {};
  if (::fstatfs(fd, &filesystem) != 0) throw system_error(errno, "fstatfs", path);
  switch (static_cast<std::uint32_t>(filesystem.f_type)) {
    case 0x9123683E:  // Btrfs
      break;
    case 0x2FC12FC1:  // ZFS
    case 0xCA451A4E:  // Bcachefs
    case 0x3434:      // NILFS2
      return WritesInPlace::no;
    default:
      return WritesInPlace::yes;
  }
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return WritesInPlace::no;
  if ((flags & FS_NOCOW_FL) != 0) return WritesInPlace::yes;
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw system_error(errno, "fstat", path);
  if (status.st_size != 0) return WritesInPlace::not_now;
  flags |= FS_NOCOW_FL;
  if (::ioctl(fd, FS_IOC_SETFLAGS, &flags) != 0 || ::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return WritesInPlace::no;
  return (flags & FS_NOCOW_FL) != 0 ? WritesInPlace::yes : WritesInPlace::no;
}

void require_in_place(int fd, const std::filesystem::path& path) {
  if (request_in_place(fd, path) == WritesInPlace::yes) return;
  throw error_at(ErrorCode::unsupported, path.parent_path(),
                 "its file system writes every change to another place, so that a full disk would end the "
                 "process at a store into memory; put the shared memory on a tmpfs, ext4 or XFS by live_dir");
}

}  // namespace oncelog::internal
