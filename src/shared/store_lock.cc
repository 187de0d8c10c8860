#include "shared/store_lock.h"

#include <fmt/format.h>

#include "base/error.h"

namespace oncelog::internal {

void StoreLock::rethrow_at(const std::filesystem::path& path) {
  try {
    throw;
  } catch (const LockTimeout& timeout) {
    throw LockTimeout(fmt::format("{}: {}", path.string(), timeout.what()), path);
  } catch (const Error& error) {
    throw error_at(error.code(), path, "{}", error.what());
  }
}

}  // namespace oncelog::internal
