#pragma once

#include <cstdint>

namespace oncelog::internal {

/// One process of this host and boot: its number, which the kernel reuses, and its start time, which distinguishes two
/// processes of one number. All users of a store are in one pid namespace. A value.
struct ProcessIdentity {
  std::int32_t pid = 0;
  std::uint64_t start_ticks = 0;  // Clock ticks from boot to the process's start.

  /// This process's. Throws Error::io without /proc.
  static ProcessIdentity self();

  /// Whether it may still run. It counts as alive where that cannot be found out. Some system calls.
  bool alive() const;

  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

}  // namespace oncelog::internal
