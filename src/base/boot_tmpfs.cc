#include "base/boot_tmpfs.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace oncelog::internal {
namespace {

constexpr const char* kPlace = "/dev/shm";
constexpr const char* kGroups = "/sys/fs/cgroup";
constexpr ino_t kFirstPidNamespace = 0xEFFFFFFC;  // A number of the kernel's ABI: the same on every host.
constexpr uid_t kLastSystemUser = 999;            // Whose files systemd leaves alone.

/// Whether process 1, as this process sees it, is the host's: the one that nothing but the end of the host ends.
bool sees_first_process() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == kFirstPidNamespace;
}

/// The device that process 1 sees at `place`.
std::optional<dev_t> device_for_first_process(const std::string& place) {
  std::optional<dev_t> device;
  std::ifstream mounts("/proc/1/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    // The mount's number, that of its parent, its device, its root and where it is: the last one of a place is seen.
    std::istringstream fields(line);
    std::string mount;
    std::string parent;
    unsigned major = 0;
    unsigned minor = 0;
    char colon = 0;
    std::string root;
    std::string at;
    if (fields >> mount >> parent >> major >> colon >> minor >> root >> at && at == place)
      device = makedev(major, minor);
  }
  return device;
}

bool is_deleted_at_logout(uid_t owner) {
  std::error_code unseen;
  return owner > kLastSystemUser && std::filesystem::exists("/run/systemd/users", unseen);
}

/// MemAvailable; 0 where the kernel does not say.
std::uint64_t available_memory() {
  std::ifstream memory("/proc/meminfo");
  for (std::string line; std::getline(memory, line);) {
    std::istringstream fields(line);
    std::string name;
    std::uint64_t kib = 0;
    if (fields >> name >> kib && name == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

/// The least memory.max of this process's control group and of those above it. Pages of a tmpfs count as theirs.
std::uint64_t group_limit() {
  std::ifstream groups("/proc/self/cgroup");
  std::uint64_t least = BootTmpfs::kNoLimit;
  for (std::string line; std::getline(groups, line);) {
    constexpr std::string_view kUnified = "0::";  // Of version 2; earlier ones have lines of their own.
    if (!line.starts_with(kUnified)) continue;
    const std::filesystem::path top = kGroups;
    for (auto group = top / line.substr(kUnified.size() + 1); group.native().size() > top.native().size();
         group = group.parent_path()) {
      std::uint64_t bytes = 0;
      if (std::ifstream(group / "memory.max") >> bytes) least = std::min(least, bytes);  // Or "max".
    }
  }
  return least;
}

}  // namespace

std::optional<BootTmpfs> find_boot_tmpfs(uid_t owner) {
  struct stat status {};
  struct statfs filesystem {};
  if (!sees_first_process() || is_deleted_at_logout(owner) || ::stat(kPlace, &status) != 0 ||
      ::statfs(kPlace, &filesystem) != 0 || filesystem.f_type != TMPFS_MAGIC ||
      device_for_first_process(kPlace) != status.st_dev) {
    return std::nullopt;
  }
  return BootTmpfs{.directory = kPlace, .free_memory = available_memory(), .memory_limit = group_limit()};
}

}  // namespace oncelog::internal
