#pragma once

#include <filesystem>
#include <memory>

#include <oncelog/options.h>

#include "base/exported.h"
#include "base/host.h"

namespace oncelog::internal {

class LocalEngine;

/// The process's engine for a directory: LMDB must not be opened twice in a process, so all handles of one directory
/// (by device and inode, whatever its names) share one. Waits for an engine of the
/// same directory that another thread is opening or closing, never for other directories'. Thread-safe.
ONCELOG_INTERNAL std::shared_ptr<LocalEngine> open_engine(const std::filesystem::path& directory,
                                                          const Options& options, const Host& host);

/// The process's engine for a directory if it has one, and nothing is opened. Thread-safe.
std::shared_ptr<LocalEngine> engine_of(const std::filesystem::path& directory);

}  // namespace oncelog::internal
