#pragma once

#include <filesystem>
#include <memory>

#include <oncelog/backup.h>
#include <oncelog/store.h>

#include "base/exported.h"
#include "base/host.h"

namespace oncelog {

/// Stores on a host or an engine of the caller's making: how tests and benchmarks step clocks and reboot.
struct StoreAccess {
  /// The host must outlive the store, and all handles of a directory in one process use the first one's.
  static Store open(const std::filesystem::path& directory, const Options& options, const internal::Host& host);

  ONCELOG_INTERNAL static Store on(std::shared_ptr<internal::Engine> engine, Ack ack);

  /// restore() at that host's time.
  static RestoreReport restore(const std::filesystem::path& backup, const std::filesystem::path& directory,
                               const RestoreOptions& options, const internal::Host& host);
};

}  // namespace oncelog
