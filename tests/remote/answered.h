#pragma once

#include <chrono>
#include <thread>

#include "remote/backend.h"

namespace oncelog::testing {

/// Asks again, with the same arguments, until there is an answer.
template <typename Call>
auto answered(Call call) {
  while (true) {
    try {
      return call();
    } catch (const internal::remote::ConnectionLost&) {
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
  }
}

}  // namespace oncelog::testing
