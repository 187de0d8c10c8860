#include <unistd.h>

#include <optional>
#include <thread>

#include "claim_owner.h"
#include "shared.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("a lock is one owner's at a time, and its tokens only grow, over reboots as well") {
  const TempDir dir;
  FakeHost host;
  std::uint64_t last = 0;
  const auto grows = [&](std::uint64_t token) {
    CHECK(token > last);
    last = token;
  };
  for (int boot = 0; boot < 6; ++boot) {
    {
      const Store store = StoreAccess::open(dir / "store", kOwnerOptions, host);
      Lock first = store.lock("leader", 10s);
      REQUIRE(first);
      grows(first.token());
      const Lock none = store.lock("leader", 10s);
      CHECK_FALSE(none);
      CHECK(none.token() == 0);
      CHECK(none.owner()->process == ::getpid());
      CHECK(store.scope("orders").mark("leader") == Verdict::fresh);  // Names are no ids.
      CHECK(store.scope("orders").forget("leader"));
      host.advance(9s);
      CHECK(first.renew(10s));
      host.advance(9s);
      CHECK_FALSE(store.lock("leader", 10s));
      host.advance(1s);
      Lock second = store.lock("leader", 10s);
      REQUIRE(second);
      grows(second.token());
      CHECK_FALSE(first.renew(10s));
      first.release();
      CHECK_FALSE(store.lock("leader", 10s));
      Lock third(std::move(second));
      third.release();
      CHECK_FALSE(third.renew(10s));
      {
        const Lock fourth = store.lock("leader", 10s);
        grows(fourth.token());
      }
      Claim claim = store.scope("orders").begin("id", 10s);
      grows(claim.token());
      third = store.lock("leader", 10s);
      grows(third.token());
    }
    if (boot % 2 == 0) host.reboot();
    if (boot % 3 == 0) remove_derived(dir / "store");
  }
}

TEST_CASE("a lock that is waited for goes to who waits when its owner lets go or dies") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> locked(false);
  const Store store = StoreAccess::open(dir / "store", kOwnerOptions, *host);
  Lock held = store.lock("leader", 1h);
  std::atomic<bool> asked{false};
  std::thread other([&] {
    asked = true;
    CHECK(store.lock("leader", 1h, 1h));
  });
  wait_until([&] { return asked.load(); });
  held.release();
  other.join();
  CHECK_FALSE(store.lock("another", 1h).owner());

  Owner owner(
      dir / "store",
      [&](const Store& its) {
        static std::optional<Lock> its_lock;
        its_lock = its.lock("leader", 1h);
        locked->store(true);
      },
      *host);
  wait_until([&] { return locked->load(); });
  CHECK_FALSE(store.lock("leader", 1h, 1ms));
  owner.kill();
  CHECK(store.lock("leader", 1h));
}
