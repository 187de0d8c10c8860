#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "claim_owner.h"
#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("a dead owner's claim is free as its scope's handle said") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> claimed(false);
  const Store store = StoreAccess::open(dir / "store", kOwnerOptions, *host);
  const Scope scope = store.scope("orders");
  SUBCASE("at once") {
    OwnerOfId owner(dir / "store", OrphanPolicy::free_at_once, 1h, host, claimed);
    const Claim claim = scope.begin("id", 1h);
    CHECK(claim == Verdict::in_progress);
    CHECK(claim.owner()->process == owner.pid());
    CHECK(scope.mark("id") == Verdict::in_progress);
    owner.kill();
    SUBCASE("to a claim") {
      CHECK(scope.begin("id", 1h));
    }
    SUBCASE("to a mark") {
      CHECK(scope.mark("id") == Verdict::fresh);
      CHECK(scope.mark("id") == Verdict::duplicate);
    }
    SUBCASE("to who only waits") {
      CHECK(scope.wait_until_free("id", 0ms));
    }
  }
  SUBCASE("when its lease is over") {
    OwnerOfId owner(dir / "store", OrphanPolicy::free_after_lease, 10s, host, claimed);
    owner.kill();
    host->advance(9'999ms);
    CHECK(scope.begin("id", 1h) == Verdict::in_progress);
    REQUIRE(store.claims().size() == 1);
    CHECK_FALSE(store.claims()[0].owner_alive);
    CHECK(store.claims()[0].orphans == OrphanPolicy::free_after_lease);
    host->advance(1ms);
    CHECK(scope.begin("id", 1h));
  }
  SUBCASE("when its lease is over, although its owner lives") {
    OwnerOfId owner(dir / "store", OrphanPolicy::free_after_lease, 10s, host, claimed);
    host->advance(9'999ms);
    CHECK(scope.begin("id", 1h) == Verdict::in_progress);
    host->advance(1ms);
    CHECK(scope.begin("id", 1h));
  }
  SUBCASE("when an operator frees it") {
    OwnerOfId owner(dir / "store", OrphanPolicy::keep, 10s, host, claimed);
    owner.kill();
    host->advance(1min);
    CHECK(scope.begin("id", 1h) == Verdict::in_progress);
    CHECK(scope.mark("id") == Verdict::in_progress);
    CHECK_FALSE(scope.wait_until_free("id", 0ms));
    CHECK(scope.release("id"));
    CHECK_FALSE(scope.release("id"));
    CHECK(scope.begin("id", 1h));
  }
}

TEST_CASE("a reboot ends all claims") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> claimed(false);
  OwnerOfId(dir / "store", OrphanPolicy::keep, 1h, host, claimed).kill();
  SUBCASE("but nothing less does") {
    CHECK_FALSE(StoreAccess::open(dir / "store", kOwnerOptions, *host).scope("orders").begin("id", 1h));
  }
  SUBCASE("whoever had them") {
    host->reboot();
    CHECK(StoreAccess::open(dir / "store", kOwnerOptions, *host).scope("orders").begin("id", 1h));
  }
}

TEST_CASE("a program that comes after another one in the same process finds its claims free") {
  constexpr const char* kDirectory = "ONCELOG_TEST_AFTER_EXEC";
  if (const char* directory = std::getenv(kDirectory)) {
    const Store store = Store::open(directory);
    CHECK(store.scope("orders").begin("id", 1h));
    CHECK_FALSE(store.scope("stay", {.orphans = OrphanPolicy::free_after_lease}).begin("id", 1h));
    return;
  }
  const TempDir dir;
  const pid_t child = spawn([&] {
    const Store store = Store::open(dir / "store");
    const Claim claim = store.scope("orders").begin("id", 1h);
    const Claim stays = store.scope("stay", {.orphans = OrphanPolicy::free_after_lease}).begin("id", 1h);
    ::setenv(kDirectory, (dir / "store").c_str(), 1);
    ::execl("/proc/self/exe", "claim_orphan_test", "--no-version", "-tc=a program that comes after*", nullptr);
    return 1;
  });
  CHECK(wait_for(child) == 0);
}

TEST_CASE("begin with patience gets what a killed owner leaves") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> claimed(false);
  OwnerOfId owner(dir / "store", OrphanPolicy::free_at_once, 1h, host, claimed);
  const Scope scope = StoreAccess::open(dir / "store", kOwnerOptions, *host).scope("orders");
  std::atomic<bool> asked{false};
  std::thread other([&] {
    asked = true;
    CHECK(scope.begin("id", 1h, {}, 1h));
  });
  wait_until([&] { return asked.load(); });
  owner.kill();
  other.join();
}

TEST_CASE("of all that ask for an orphan exactly one gets it") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOwnerOptions, host);
  const Scope scope = store.scope("orders");
  constexpr unsigned kThreads = 4;
  for (unsigned round = 0; round < scaled(500, 50); ++round) {
    const Claim orphan = scope.begin("id", 10s);
    REQUIRE(orphan);
    host.advance(10s);
    std::atomic<unsigned> ready{0};
    std::atomic<unsigned> taken{0};
    std::vector<std::thread> threads;
    std::vector<std::optional<Claim>> claims(kThreads);
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        ready.fetch_add(1);
        wait_until([&] { return ready.load() == kThreads; });
        claims[t] = scope.begin("id", 10s);
        taken.fetch_add(*claims[t] ? 1 : 0);
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(taken.load() == 1);
  }
}

TEST_CASE("more claims than max_claims are full, hold nothing, and get their places from dead owners first") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> claimed(false);
  Options options = kOwnerOptions;
  options.max_claims = 100;
  const Store store = StoreAccess::open(dir / "store", options, *host);
  const Ids ids(101, [](std::size_t i) { return "id " + std::to_string(i); });
  const Scope scope = store.scope("orders");
  CHECK(error_code_of([&] { scope.begin(ids, 1h); }) == ErrorCode::full);
  CHECK(store.claims().empty());
  {
    const ClaimBatch all = scope.begin(std::span(ids).first(100), 1h);
    CHECK(store.claims().size() == 100);
    CHECK(error_code_of([&] { scope.begin("one more", 1h); }) == ErrorCode::full);
    CHECK(error_code_of([&] { store.lock("a lock", 1h); }) == ErrorCode::full);
    CHECK(scope.mark("marks need none") == Verdict::fresh);
  }
  CHECK(store.claims().empty());
  const auto hold_half = [&](OrphanPolicy orphans) {
    claimed->store(false);
    const Owner owner(
        dir / "store",
        [&, orphans](const Store& its) {
          static std::optional<ClaimBatch> held;
          held = its.scope("mails", {.orphans = orphans}).begin(std::span(ids).first(50), 10s);
          claimed->store(true);
        },
        *host);
    wait_until([&] { return claimed->load(); });
  };
  SUBCASE("of those that are free at once") {
    hold_half(OrphanPolicy::free_at_once);
    CHECK(store.claims().size() == 50);
    CHECK_NOTHROW(scope.begin(std::span(ids).first(100), 1h));
  }
  SUBCASE("of those whose lease is over") {
    hold_half(OrphanPolicy::free_after_lease);
    CHECK(error_code_of([&] { scope.begin(std::span(ids).first(100), 1h); }) == ErrorCode::full);
    host->advance(10s);
    CHECK_NOTHROW(scope.begin(std::span(ids).first(100), 1h));
  }
  SUBCASE("but not of those that only an operator may free") {
    hold_half(OrphanPolicy::keep);
    host->advance(10s);
    CHECK(error_code_of([&] { scope.begin(std::span(ids).first(100), 1h); }) == ErrorCode::full);
    CHECK(store.claims().size() == 50);
  }
}
