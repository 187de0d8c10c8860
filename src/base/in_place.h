#pragma once

#include <filesystem>

namespace oncelog::internal {

/// Whether what is stored into a mapped file needs no new space. On file systems that write every page elsewhere
/// (copy-on-write), allocated blocks are no room for the next change, and on a full disk storing into memory is a
/// SIGBUS. Btrfs can be asked for files that are written in place; a snapshot of them, or a copy by reflink, makes the
/// next change of each block an exception again. Some system calls when a file is made, none later.

enum class WritesInPlace {
  yes,
  no,       // And cannot be asked to.
  not_now,  // Only when it is empty.
};

/// What the file, which is open at `fd`, does; asks for it where it must be asked for, and checks that it was granted.
WritesInPlace request_in_place(int fd, const std::filesystem::path& path);

/// The same for a new, empty file of shared memory: Error::unsupported, which names the way out, unless it does.
void require_in_place(int fd, const std::filesystem::path& path);

}  // namespace oncelog::internal
