#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>

#include "base/boot_tmpfs.h"
#include "base/exported.h"

namespace oncelog::internal {

/// What a record's time takes, in microseconds since 1970: no store time is further from 1970 than this.
inline constexpr unsigned kTimeBits = 54;
inline constexpr std::int64_t kMaxTimeUs = (std::int64_t{1} << kTimeBits) - 1;

using Uuid = std::array<std::uint8_t, 16>;

/// What the store believes about the machine it runs on: which boot this is, what time it is, and where in memory files
/// last as long as the boot. One object a process; tests put their own in its place to step clocks and to reboot.
/// Thread-safe.
class Host {
 public:
  virtual ~Host() = default;

  /// Changes with every boot of the kernel: memory shared under another id did not survive.
  virtual Uuid boot_id() const = 0;

  /// Microseconds since 1970, UTC. May be stepped by an operator or NTP, in either direction.
  virtual std::int64_t wall_us() const = 0;

  /// Microseconds since boot, suspended time included. Never steps.
  virtual std::int64_t boot_us() const = 0;

  /// How many processors this process may use, at least 1: so many threads do work that has no end of its own.
  virtual unsigned processors() const { return 1; }

  /// Where files of `owner` last until the next boot and take no disk; nothing where there is no such place.
  virtual std::optional<BootTmpfs> boot_tmpfs(uid_t /*owner*/) const { return std::nullopt; }

  /// From now on system() has no boot_tmpfs: for test programs, whose many stores live for moments.
  static void hide_boot_tmpfs();

  /// The real one. Lives as long as the process, also for the destructors of static objects.
  ONCELOG_INTERNAL static const Host& system();
};

/// Random bytes from the kernel. Throws Error::io.
void fill_random(void* bytes, std::size_t size);
ONCELOG_INTERNAL Uuid random_uuid();

}  // namespace oncelog::internal
