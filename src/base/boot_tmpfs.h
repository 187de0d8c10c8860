#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>

namespace oncelog::internal {

/// A directory in memory whose files last until the next boot, and what there is for it.
struct BootTmpfs {
  static constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

  std::filesystem::path directory;        // Everyone may write to it.
  std::uint64_t free_memory = kNoLimit;   // Bytes that programs can still take on this host.
  std::uint64_t memory_limit = kNoLimit;  // Bytes that the control groups of this process may take at most.
};

/// /dev/shm of the host, where what processes of `owner` leave there lasts until the next boot. Nothing where it may be
/// lost before that, and with it what only the shared memory holds after kill -9:
///
/// - in a container, or behind any other mount at /dev/shm than the host's own: it ends with the container;
/// - of an ordinary user where there is systemd: it deletes that user's files there at the last logout (RemoveIPC).
///
/// Also nothing where /proc does not show all of that. Reads some small files. Any thread.
std::optional<BootTmpfs> find_boot_tmpfs(uid_t owner);

}  // namespace oncelog::internal
