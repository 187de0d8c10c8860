#pragma once

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <optional>

#include "shared.h"
#include "support.h"

namespace oncelog::testing {

/// Every owner opens the store with these.
inline const Options kOwnerOptions{.retention = std::chrono::hours{1},
                                   .expected_ids = 1,
                                   .flush_interval = std::chrono::hours{1},
                                   .ring_bytes = 1 << 20};

/// A process that claims, says that it has, and waits to be killed.
class Owner {
 public:
  Owner(const std::filesystem::path& path, const std::function<void(const Store&)>& claim,
        const internal::Host& host = internal::Host::system()) {
    pid_ = spawn([&, claim] {
      const Store store = StoreAccess::open(path, kOwnerOptions, host);
      claim(store);
      ::pause();
      return 0;
    });
  }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  ~Owner() {
    if (pid_ != 0) kill();
  }

  pid_t pid() const { return pid_; }
  void kill() {
    ::kill(pid_, SIGKILL);
    CHECK(wait_for(pid_) == -SIGKILL);
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
};

/// An owner that holds "id" in "orders" until it is killed.
struct OwnerOfId : Owner {
  OwnerOfId(const std::filesystem::path& path, OrphanPolicy orphans, std::chrono::milliseconds lease,
            Shared<FakeHost>& host, Shared<std::atomic<bool>>& claimed)
      : Owner(
            path,
            [orphans, lease, &claimed](const Store& store) {
              static std::optional<Claim> held;
              held = store.scope("orders", {.orphans = orphans}).begin("id", lease);
              expect(static_cast<bool>(*held), "the id is to be had");
              claimed->store(true);
            },
            *host) {
    wait_until([&] { return claimed->load(); });
  }
};

}  // namespace oncelog::testing
