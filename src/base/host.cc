#include "base/host.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "base/error.h"

namespace oncelog::internal {
namespace {

constexpr const char* kBootIdPath = "/proc/sys/kernel/random/boot_id";

std::int64_t clock_us(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1'000;
}

std::atomic<bool> boot_tmpfs_hidden = false;  // Relaxed: set before there are stores.

class SystemHost final : public Host {
 public:
  Uuid boot_id() const override {
    std::string text;
    if (!std::getline(std::ifstream(kBootIdPath), text)) {
      throw error_at(ErrorCode::io, kBootIdPath, "the kernel's boot id cannot be read from it");
    }
    Uuid id{};
    std::size_t nibble = 0;
    for (const char c : text) {
      const char* digits = "0123456789abcdef";
      const char* digit = c == '\0' ? nullptr : std::strchr(digits, c);
      if (digit == nullptr || nibble == 2 * id.size()) continue;
      id[nibble / 2] = static_cast<std::uint8_t>(id[nibble / 2] << 4 | (digit - digits));
      ++nibble;
    }
    if (nibble != 2 * id.size()) {
      throw error_at(ErrorCode::io, kBootIdPath, "does not hold a boot id but '{}'", text);
    }
    return id;
  }

  std::int64_t wall_us() const override { return clock_us(CLOCK_REALTIME); }
  std::int64_t boot_us() const override { return clock_us(CLOCK_BOOTTIME); }

  unsigned processors() const override {
    // Not the machine's: a container or taskset may allow fewer.
    cpu_set_t allowed;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) return static_cast<unsigned>(CPU_COUNT(&allowed));
    return std::max(1U, std::thread::hardware_concurrency());  // More than a cpu_set_t has room for.
  }

  std::optional<BootTmpfs> boot_tmpfs(uid_t owner) const override {
    return boot_tmpfs_hidden.load(std::memory_order_relaxed) ? std::nullopt : find_boot_tmpfs(owner);
  }
};

}  // namespace

const Host& Host::system() {
  static const Host& host = *new SystemHost;  // Never destroyed: stores may outlive static objects.
  return host;
}

void Host::hide_boot_tmpfs() {
  boot_tmpfs_hidden.store(true, std::memory_order_relaxed);
}

void fill_random(void* bytes, std::size_t size) {
  auto* at = static_cast<std::byte*>(bytes);
  while (size > 0) {
    const ssize_t got = getrandom(at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw Error(ErrorCode::io, std::string("getrandom failed: ") + std::strerror(errno));
    at += got;
    size -= static_cast<std::size_t>(got);
  }
}

Uuid random_uuid() {
  Uuid id;
  fill_random(id.data(), id.size());
  return id;
}

}  // namespace oncelog::internal
