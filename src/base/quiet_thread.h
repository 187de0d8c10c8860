#pragma once

#include <functional>
#include <thread>

#include "base/exported.h"

namespace oncelog::internal {

/// Starts a thread of the library's own, which gets none of the application's signals. Throws Error::io when the system
/// cannot start one; `work` names what it is for. What it runs must not throw.
ONCELOG_INTERNAL std::thread start_quiet_thread(const char* work, std::function<void()> run);

}  // namespace oncelog::internal
