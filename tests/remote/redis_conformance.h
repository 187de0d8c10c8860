#pragma once

#include <memory>

#include "redis_engines.h"
#include "remote/gathering.h"
#include "remote/near.h"
#include "remote/remote_engine.h"

namespace oncelog::testing {

/// A server, or a cluster, that syncs each write: what waits for its disk has not to wait for its next second.
template <typename Base>
struct Syncing : Base {
  Syncing() : Base({"--appendfsync", "always"}) {}
};

/// engine_test.cc on Redis: a store of its own for each case, behind a near tier or not.
template <typename Shared, bool kNear>
class Conforming {
 public:
  Store open(const Options& options) {
    remote::Options asked;
    asked.retention = options.retention;
    asked.ack = options.ack;
    asked.on_decision = options.on_decision;
    asked.timeout = std::chrono::minutes{1};  // No case is about it, and a laden machine takes its time.
    std::shared_ptr<internal::remote::Backend> backend = redis_.open(asked);
    if (kNear) {
      auto gathering = std::make_shared<internal::remote::Gathering>(std::move(backend), asked.timeout);
      // The server's clock jumps here.
      const internal::remote::NearSettings settings{directory_ / "near", std::chrono::milliseconds{0}, asked.timeout};
      backend = std::make_shared<internal::remote::Near>(std::move(gathering), settings);
    }
    return StoreAccess::on(std::make_shared<internal::remote::RemoteEngine>(std::move(backend), asked, nullptr),
                           asked.ack);
  }
  void advance(std::chrono::microseconds by) { redis_.advance(by); }
  Time now() const { return redis_.now(); }

 private:
  OnRedis<Shared> redis_;
  TempDir directory_;
};

template <bool kNear>
using OnServer = Conforming<Syncing<RedisServer>, kNear>;
template <bool kNear>
using OnCluster = Conforming<Syncing<RedisCluster>, kNear>;

}  // namespace oncelog::testing

#define ONCELOG_ENGINES                                                                                    \
  oncelog::testing::OnServer<false>, oncelog::testing::OnCluster<false>, oncelog::testing::OnServer<true>, \
      oncelog::testing::OnCluster<true>
#define ONCELOG_NO_TRANSACTIONS
