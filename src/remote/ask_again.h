#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "base/error.h"
#include "remote/backend.h"
#include "remote/call_limit.h"

namespace oncelog::internal::remote {

/// Calls ask(), and again after each ConnectionLost, with pauses that grow, until `timeout` is over: then it is
/// Error::io. All of it takes no longer: what ask() waits for ends by then as well. `name` is the server's.
template <typename AskServer>
auto ask_again(std::chrono::milliseconds timeout, std::string_view name, const AskServer& ask) {
  using std::chrono::milliseconds;
  constexpr milliseconds kLongestPause{100};
  const CallLimit limit(std::chrono::steady_clock::now() + timeout);
  for (milliseconds pause{5};; pause = std::min(2 * pause, kLongestPause)) {
    try {
      return ask();
    } catch (const ConnectionLost& lost) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= limit.until()) {
        throw Error(ErrorCode::io, fmt::format("{}: no answer within {} ms: {}", name, timeout.count(), lost.what()));
      }
      std::this_thread::sleep_until(std::min(limit.until(), now + pause));
    }
  }
}

}  // namespace oncelog::internal::remote
