#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "redis_server.h"
#include "remote/redis/redis_backend.h"

namespace oncelog::testing {

inline std::string next_prefix() {
  static std::atomic<int> count{0};
  return "t" + std::to_string(count.fetch_add(1));
}

/// A store of a test's own on a server that all tests of the process share, whose clock moves only when told to.
template <typename Shared>
struct OnRedis {
  OnRedis() { clock->fixed = true, clock->us = FakeHost::kStartUs; }

  /// With a timeout that no laden machine exceeds, but in a test that says its own.
  std::unique_ptr<internal::remote::Backend> open(remote::Options options = {
                                                      .timeout = std::chrono::minutes{1}}) const {
    if (!options.retention) options.retention = std::chrono::hours{1};
    return open_redis(internal::remote::parse_redis_address(address()), options, clock);
  }
  static Shared& shared() {
    static Shared server;
    return server;
  }
  std::string address() const { return shared().address(prefix); }
  void advance(std::chrono::microseconds by) { clock->us += by.count(); }
  Time now() const { return Time{std::chrono::microseconds{clock->us.load()}}; }

  std::string prefix = next_prefix();
  std::shared_ptr<internal::remote::ServerClock> clock = std::make_shared<internal::remote::ServerClock>();
};

using Single = OnRedis<RedisServer>;
using Clustered = OnRedis<RedisCluster>;

}  // namespace oncelog::testing
