#pragma once

#include <oncelog/backup.h>
#include <oncelog/store.h>

#include "base/host.h"
#include "engine/registry.h"

namespace oncelog {

/// What is done on a host of the caller's making: how tests and benchmarks step clocks and reboot.
struct StoreAccess {
  /// The host must outlive the store, and all handles of a directory in one process use the first one's.
  static Store open(const std::filesystem::path& directory, const Options& options, const internal::Host& host) {
    return Store(internal::open_engine(directory, options, host), options.ack);
  }

  /// restore() at that host's time.
  static RestoreReport restore(const std::filesystem::path& backup, const std::filesystem::path& directory,
                               const RestoreOptions& options, const internal::Host& host);
};

}  // namespace oncelog
