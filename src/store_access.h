#pragma once

#include <oncelog/store.h>

#include "host.h"
#include "registry.h"

namespace oncelog {

/// Opens a store on a host of the caller's making: how tests and benchmarks step clocks and reboot. The host must
/// outlive the store, and all handles of a directory in one process use the first one's.
struct StoreAccess {
  static Store open(const std::filesystem::path& directory, const Options& options, const internal::Host& host) {
    return Store(internal::open_engine(directory, options, host), options.ack);
  }
};

}  // namespace oncelog
