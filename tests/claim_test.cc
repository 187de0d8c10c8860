#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};

/// A process that claims, says that it has, and waits to be killed.
class Owner {
 public:
  Owner(const std::filesystem::path& path, const std::function<void(const Store&)>& claim,
        const internal::Host& host = internal::Host::system()) {
    pid_ = spawn([&, claim] {
      const Store store = StoreAccess::open(path, kOptions, host);
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

}  // namespace

TEST_CASE("a claim is fresh once, in progress to all others until it is completed, and its id a duplicate then") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
  const Scope scope = store.scope("orders");
  Claim claim = scope.begin("id", 30s);
  REQUIRE(claim);
  CHECK(claim == Verdict::fresh);
  CHECK(claim.token() != 0);
  CHECK_FALSE(claim.record());
  CHECK_FALSE(scope.contains("id"));

  const Claim other = scope.begin("id", 30s);
  CHECK_FALSE(other);
  CHECK(other == Verdict::in_progress);
  CHECK(other.token() == 0);
  REQUIRE(other.owner());
  CHECK(other.owner()->process == ::getpid());
  CHECK(other.owner()->deadline.time_since_epoch().count() == host.wall_us() + 30'000'000);
  CHECK(scope.mark("id") == Marked{Verdict::in_progress, Lsn{}});
  // Another scope's id of that name is another message.
  CHECK(store.scope("mails").mark("id") == Verdict::fresh);

  const Completed completed = claim.complete({.correlation = "order 7", .fingerprint = 5, .result = "done"});
  CHECK(completed);
  CHECK(completed.lsn.value != 0);
  CHECK_FALSE(claim);
  CHECK(error_code_of([&] { claim.complete(); }) == ErrorCode::invalid_argument);
  CHECK(scope.contains("id"));

  const Claim late = scope.begin("id", 30s);
  CHECK_FALSE(late);
  CHECK(late == Verdict::duplicate);
  REQUIRE(late.record());
  CHECK(late.record()->lsn == completed.lsn);
  CHECK(late.record()->scope == "orders");
  CHECK(late.record()->id == "id");
  CHECK(late.record()->correlation == "order 7");
  CHECK(late.record()->fingerprint == 5);
  CHECK(late.record()->result == "done");
  CHECK(scope.begin("id", 30s, {.fingerprint = 6}) == Verdict::conflict);
  CHECK(store.claims().empty());
}

TEST_CASE("what complete() does not say is taken from what begin() was given") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  const SourceView source{"topic", 3, 99};
  Claim first = scope.begin("first", 30s, {.correlation = "c", .fingerprint = 1, .source = source});
  first.complete({.result = "r"});
  const auto record = scope.find("first");
  REQUIRE(record);
  CHECK(record->correlation == "c");
  CHECK(record->fingerprint == 1);
  CHECK(record->result == "r");
  CHECK(record->source == Source{"topic", 3, 99});
  CHECK(scope.begin("first", 30s, {.source = source}).redelivered());
  CHECK_FALSE(scope.begin("first", 30s, {.source = {"topic", 3, 100}}).redelivered());

  Claim second = scope.begin("second", 30s, {.correlation = "c", .fingerprint = 1, .source = source});
  second.complete({.correlation = "d", .fingerprint = 2, .source = {"queue", 0, 1}});
  CHECK(scope.find("second")->correlation == "d");
  CHECK(scope.find("second")->fingerprint == 2);
  CHECK(scope.find("second")->source == Source{"queue", 0, 1});

  Claim plain = scope.begin("plain", 30s);
  plain.complete();
  CHECK(scope.find("plain")->correlation.empty());
}

TEST_CASE("abandon, the destructor and an exception free the id at once, on whichever handle the claim is by then") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders", {.orphans = OrphanPolicy::keep});
  Claim claim = scope.begin("id", 30s);
  claim.abandon();
  CHECK_FALSE(claim);
  claim.abandon();
  CHECK_FALSE(claim.renew(1s));
  {
    const Claim dropped = scope.begin("id", 30s);
    CHECK(dropped);
  }
  CHECK_THROWS_AS(([&] {
                    const Claim thrown = scope.begin("id", 30s);
                    CHECK(thrown);
                    throw std::runtime_error("the work failed");
                  }()),
                  std::runtime_error);
  Claim moved = scope.begin("id", 30s);
  Claim to(std::move(moved));
  CHECK(to);
  CHECK_FALSE(moved);  // NOLINT(bugprone-use-after-move): it is empty.
  CHECK(scope.begin("id", 30s) == Verdict::in_progress);
  Claim over = scope.begin("another", 30s);
  over = std::move(to);
  CHECK(over);
  CHECK(scope.begin("another", 30s) == Verdict::fresh);  // Was abandoned by the assignment.
  CHECK(scope.begin("id", 30s) == Verdict::in_progress);
  CHECK(over.complete());
  CHECK(scope.contains("id"));
  CHECK(store.claims().empty());
}

TEST_CASE("a passed deadline lets another one take the id, and the late owner is told") {
  const TempDir dir;
  FakeHost host;
  const Scope scope = StoreAccess::open(dir / "store", kOptions, host).scope("orders");
  Claim first = scope.begin("id", 30s);
  host.advance(29'999ms);
  CHECK(scope.begin("id", 30s) == Verdict::in_progress);
  host.advance(1ms);
  Claim second = scope.begin("id", 30s);
  REQUIRE(second);
  CHECK(second.token() > first.token());
  CHECK_FALSE(first.renew(30s));
  const Completed late = first.complete();
  CHECK_FALSE(late);
  CHECK(late.lsn.value == 0);
  CHECK_FALSE(scope.contains("id"));
  CHECK(scope.begin("id", 30s) == Verdict::in_progress);
  CHECK(second.complete());
  CHECK(scope.contains("id"));

  // Nobody has asked: then late is in time.
  Claim third = scope.begin("another", 30s);
  host.advance(1min);
  CHECK(third.complete());
  // Somebody has marked it.
  Claim fourth = scope.begin("a third", 30s);
  host.advance(1min);
  CHECK(scope.mark("a third") == Verdict::fresh);
  CHECK_FALSE(fourth.complete());
  // An abandoned late one frees nothing of the next one's.
  Claim fifth = scope.begin("a fourth", 30s);
  host.advance(1min);
  Claim sixth = scope.begin("a fourth", 30s);
  fifth.abandon();
  CHECK(scope.begin("a fourth", 30s) == Verdict::in_progress);
  CHECK(sixth.complete());
}

TEST_CASE("a deadline is told by the boot clock alone") {
  const TempDir dir;
  FakeHost host;
  const Scope scope = StoreAccess::open(dir / "store", kOptions, host).scope("orders");
  Claim claim = scope.begin("id", 30s);
  host.step_wall(50min);
  CHECK(scope.begin("id", 30s) == Verdict::in_progress);
  host.step_wall(-50min);
  host.advance(30s);
  CHECK(scope.begin("id", 30s) == Verdict::fresh);
}

TEST_CASE("renew moves the deadline, also of a lease that is over but that nobody has taken") {
  const TempDir dir;
  FakeHost host;
  const Scope scope = StoreAccess::open(dir / "store", kOptions, host).scope("orders");
  Claim claim = scope.begin("id", 10s);
  for (int i = 0; i < 10; ++i) {
    host.advance(9s);
    CHECK(claim.renew(10s));
    CHECK(scope.begin("id", 10s) == Verdict::in_progress);
  }
  host.advance(1h);
  CHECK(claim.renew(10s));
  CHECK(scope.begin("id", 10s) == Verdict::in_progress);
  CHECK(claim.renew(1ms));
  host.advance(1ms);
  CHECK(scope.begin("id", 10s) == Verdict::fresh);
  CHECK(error_code_of([&] { claim.renew(0ms); }) == ErrorCode::invalid_argument);
}

TEST_CASE("a dead owner's claim is free as its scope's handle said") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> claimed(false);
  const Store store = StoreAccess::open(dir / "store", kOptions, *host);
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
    CHECK_FALSE(StoreAccess::open(dir / "store", kOptions, *host).scope("orders").begin("id", 1h));
  }
  SUBCASE("whoever had them") {
    host->reboot();
    CHECK(StoreAccess::open(dir / "store", kOptions, *host).scope("orders").begin("id", 1h));
  }
}

TEST_CASE("an operator may take a claim from an owner that lives, who is told so") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  Claim claim = scope.begin("id", 1h);
  CHECK(scope.release("id"));
  CHECK_FALSE(claim.renew(1h));
  CHECK_FALSE(claim.complete());
  CHECK(scope.begin("id", 1h));
}

TEST_CASE("the claims that are held can be listed, oldest first") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
  const std::string long_id(300, 'x');
  const Claim first = store.scope("orders").begin("id", 1h);
  const Claim second = store.scope("mails", {.orphans = OrphanPolicy::keep}).begin(long_id, 2h);
  const Lock third = store.lock("a lock", 3h);
  const auto claims = store.claims();
  REQUIRE(claims.size() == 3);
  CHECK(claims[0].scope == "orders");
  CHECK(claims[0].id == "id");
  CHECK(claims[0].owner.process == ::getpid());
  CHECK(claims[0].owner.deadline.time_since_epoch().count() == host.wall_us() + 3'600'000'000);
  CHECK(claims[0].owner_alive);
  CHECK(claims[0].token == first.token());
  CHECK(claims[0].orphans == OrphanPolicy::free_at_once);
  CHECK(claims[1].scope == "mails");
  CHECK(claims[1].id == long_id.substr(0, 64));
  CHECK(claims[1].orphans == OrphanPolicy::keep);
  CHECK(claims[2].scope.empty());
  CHECK(claims[2].id == "a lock");
}

TEST_CASE("begin with patience waits until the id is free, or known") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  CHECK(scope.wait_until_free("id", 0ms));
  Claim held = scope.begin("id", 1h);
  CHECK(scope.begin("id", 1h, {}, 5ms) == Verdict::in_progress);
  CHECK_FALSE(scope.wait_until_free("id", 5ms));
  std::atomic<bool> asked{false};
  const auto waiter = [&](auto wait) {
    asked = false;
    return std::thread([&, wait] {
      asked = true;
      wait();
    });
  };
  SUBCASE("by being abandoned") {
    std::thread other = waiter([&] { CHECK(scope.begin("id", 1h, {}, 1h)); });
    wait_until([&] { return asked.load(); });
    held.abandon();
    other.join();
  }
  SUBCASE("by being completed") {
    std::thread other = waiter([&] { CHECK(scope.begin("id", 1h, {}, 1h) == Verdict::duplicate); });
    wait_until([&] { return asked.load(); });
    held.complete();
    other.join();
  }
  SUBCASE("by an operator") {
    std::thread other = waiter([&] { CHECK(scope.wait_until_free("id", 1h)); });
    wait_until([&] { return asked.load(); });
    scope.release("id");
    other.join();
  }
  SUBCASE("by the end of its lease") {
    CHECK(held.renew(1ms));
    CHECK(scope.begin("id", 1h, {}, 1h));
  }
}

TEST_CASE("patience without end waits") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("orders");
  constexpr auto kForEver = std::chrono::milliseconds::max();
  const Claim first = scope.begin("id", 50ms);
  CHECK(scope.wait_until_free("id", kForEver));
  const Claim second = scope.begin("id", 50ms, {}, kForEver);
  CHECK(second);
  CHECK(scope.begin("id", 50ms, {}, kForEver));
  const Lock held = store.lock("name", 50ms);
  CHECK(store.lock("name", 50ms, kForEver));
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
    ::execl("/proc/self/exe", "claim_test", "--no-version", "-tc=a program that comes after*", nullptr);
    return 1;
  });
  CHECK(wait_for(child) == 0);
}

TEST_CASE("begin with patience gets what a killed owner leaves") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> claimed(false);
  OwnerOfId owner(dir / "store", OrphanPolicy::free_at_once, 1h, host, claimed);
  const Scope scope = StoreAccess::open(dir / "store", kOptions, *host).scope("orders");
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
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
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

TEST_CASE("a batch claims each id once, and completes or abandons all it holds") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back("id " + std::to_string(i));
  const Marked known = scope.mark(texts[3]);
  const Claim held = scope.begin(texts[70], 1h);
  texts.push_back(texts[0]);                  // Once more, in a later chunk,
  texts.insert(texts.begin() + 1, texts[5]);  // and in the same.
  std::vector<std::string_view> ids(texts.begin(), texts.end());
  const auto fresh = [](const ClaimBatch& batch) { return std::ranges::count(batch.verdicts(), Verdict::fresh); };
  {
    ClaimBatch batch = scope.begin(ids, 1h);
    REQUIRE(batch.verdicts().size() == ids.size());
    CHECK(fresh(batch) == 198);
    CHECK(batch.verdicts()[1] == Verdict::fresh);
    CHECK(batch.verdicts()[6] == Verdict::duplicate);
    CHECK(batch.verdicts().back() == Verdict::duplicate);
    CHECK(batch.verdicts()[4] == Verdict::duplicate);
    CHECK(batch.verdicts()[71] == Verdict::in_progress);
    CHECK(store.claims().size() == 199);
    CHECK(scope.mark(texts[10]) == Verdict::in_progress);
    // Another batch of the process has none of it.
    CHECK(fresh(scope.begin(ids, 1h)) == 0);
  }
  CHECK(store.claims().size() == 1);  // The batch's were abandoned.
  ClaimBatch first = scope.begin(ids, 1h);
  CHECK(fresh(first) == 198);
  first.abandon();
  first.abandon();
  CHECK(store.claims().size() == 1);
  CHECK(error_code_of([&] { first.complete(); }) == ErrorCode::invalid_argument);

  ClaimBatch second = scope.begin(ids, 1h);
  texts.clear();  // The claims outlive the caller's ids.
  ClaimBatch moved(std::move(second));
  ClaimBatch again = scope.begin(std::vector<std::string_view>{"one more"}, 1h);
  again = std::move(moved);
  CHECK_FALSE(scope.contains("one more"));
  CHECK(scope.begin("one more", 1h));
  std::size_t late = 99;
  const Lsn newest = again.complete(&late);
  CHECK(late == 0);
  CHECK(newest > known.lsn);
  CHECK(store.claims().size() == 1);
  CHECK(scope.find("id 199")->lsn == newest);
  for (int i = 0; i < 200; ++i) CHECK(scope.contains("id " + std::to_string(i)) == (i != 70));
  store.wait(newest);
  CHECK(store.durable() > newest);

  // All duplicates: the newest of their records, so that the batch can be acknowledged.
  CHECK(scope.begin(std::vector<std::string_view>{"id 3", "id 199", "id 5"}, 1h).complete() == newest);
  CHECK(scope.begin(std::span<const std::string_view>{}, 1h).complete() == Lsn{});
}

TEST_CASE("a batch's late claims are counted") {
  const TempDir dir;
  FakeHost host;
  const Scope scope = StoreAccess::open(dir / "store", kOptions, host).scope("orders");
  ClaimBatch batch = scope.begin(std::vector<std::string_view>{"a", "b", "c", "d"}, 10s);
  host.advance(1min);
  const Claim other = scope.begin("b", 10s);
  CHECK(scope.mark("d") == Verdict::fresh);
  std::size_t late = 0;
  batch.complete(&late);
  CHECK(late == 2);
  CHECK(scope.contains("a"));
  CHECK_FALSE(scope.contains("b"));
}

TEST_CASE("more claims than max_claims are full, hold nothing, and get their places from dead owners first") {
  const TempDir dir;
  Shared<FakeHost> host;
  Shared<std::atomic<bool>> claimed(false);
  Options options = kOptions;
  options.max_claims = 100;
  const Store store = StoreAccess::open(dir / "store", options, *host);
  std::vector<std::string> texts;
  for (int i = 0; i < 101; ++i) texts.push_back("id " + std::to_string(i));
  const std::vector<std::string_view> ids(texts.begin(), texts.end());
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
      const Store store = StoreAccess::open(dir / "store", kOptions, host);
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
  const Store store = StoreAccess::open(dir / "store", kOptions, *host);
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

TEST_CASE("arguments out of range are refused, and nothing is held") {
  const TempDir dir;
  Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  CHECK(error_code_of([&] { scope.begin("", 1s); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { scope.begin(std::string(kMaxIdBytes + 1, 'x'), 1s); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { scope.begin("id", 0ms); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { scope.begin("id", -1s); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { scope.begin("id", std::chrono::hours{24 * 365 * 101}); }) == ErrorCode::invalid_argument);
  const std::string long_correlation(kMaxCorrelationBytes + 1, 'x');
  CHECK(error_code_of([&] { scope.begin("id", 1s, {.correlation = long_correlation}); }) ==
        ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { scope.begin(std::vector<std::string_view>{"a", ""}, 1s); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { store.lock("", 1s); }) == ErrorCode::invalid_argument);
  CHECK(error_text_of([&] { store.lock(std::string(kMaxIdBytes + 1, 'x'), 1s); }) ==
        "a lock's name has 1025 bytes; 1 to 1024 are possible");
  CHECK(error_code_of([&] { store.lock("leader", 0s); }) == ErrorCode::invalid_argument);
  CHECK(store.claims().empty());
  Claim claim = scope.begin("id", 1h);
  CHECK(error_code_of([&] { claim.complete({.correlation = long_correlation}); }) == ErrorCode::invalid_argument);
  CHECK(claim);  // Is still held after that.
  CHECK(claim.complete({.correlation = "short"}));
}

TEST_CASE("a read-only store claims nothing and lists what others hold") {
  const TempDir dir;
  const pid_t child = spawn([&] {
    const Store store = Store::open(dir / "store", kOptions);
    const Claim claim = store.scope("orders").begin("id", 1h);
    expect(wait_for(spawn([&] {
             Options options = kOptions;
             options.read_only = true;
             const Store reading = Store::open(dir / "store", options);
             const Scope scope = reading.scope("orders");
             expect(error_code_of([&] { scope.begin("id", 1h); }) == ErrorCode::read_only, "begin is refused");
             expect(error_code_of([&] { scope.release("id"); }) == ErrorCode::read_only, "release is refused");
             expect(error_code_of([&] { reading.lock("id", 1h); }) == ErrorCode::read_only, "lock is refused");
             expect(reading.claims().size() == 1, "the claim is listed");
             return 0;
           })) == 0,
           "the reader is content");
    return 0;
  });
  CHECK(wait_for(child) == 0);
}

TEST_CASE("a child made by fork leaves its parent's claims alone") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  std::optional<Claim> claim = scope.begin("id", 1h);
  std::optional<ClaimBatch> batch = scope.begin(std::vector<std::string_view>{"a", "b"}, 1h);
  std::optional<Lock> lock = store.lock("leader", 1h);
  const pid_t child = spawn([&] {
    expect(error_code_of([&] { claim->complete(); }) == ErrorCode::forked, "a child completes nothing");
    expect(error_code_of([&] { claim->renew(1s); }) == ErrorCode::forked, "a child renews nothing");
    expect(error_code_of([&] { batch->complete(); }) == ErrorCode::forked, "a child completes no batch");
    claim.reset();
    batch.reset();
    lock.reset();
    return 0;
  });
  CHECK(wait_for(child) == 0);
  CHECK(store.claims().size() == 4);
  CHECK(claim->complete());
  batch->complete();
  CHECK(scope.contains("b"));
}

TEST_CASE("a handle's end abandons nothing: claims keep their store open") {
  const TempDir dir;
  std::optional<Claim> claim;
  {
    const Store store = Store::open(dir / "store", kOptions);
    claim = store.scope("orders").begin("id", 1h);
  }
  CHECK(Store::open(dir / "store").scope("orders").begin("id", 1h) == Verdict::in_progress);
  CHECK(claim->complete());
  claim.reset();
  CHECK(Store::open(dir / "store").scope("orders").contains("id"));
}

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
namespace {

/// From here on any system call of the calling thread but exit_group ends the process by SIGSYS.
void forbid_system_calls() {
  const std::array<sock_filter, 6> program{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog filter{4, const_cast<sock_filter*>(program.data())};
  expect(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "privileges can be given up");
  expect(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "system calls can be forbidden");
}

}  // namespace

TEST_CASE("checking, marking and claiming fresh ids makes no system call") {
  const TempDir dir;
  const auto run = [&](int round) {
    const Store store = Store::open(dir / "store", kOptions);
    const Scope scope = store.scope("orders");
    const auto work = [&](int from, int count) {
      std::array<char, 16> id{};
      for (int i = from; i < from + count; ++i) {
        id.fill('x');
        for (int rest = i, at = 0; rest != 0; rest /= 10)
          id[static_cast<std::size_t>(at++)] = static_cast<char>('0' + rest % 10);
        const std::string_view text(id.data(), id.size());
        if (scope.contains(text)) return false;
        Claim claim = scope.begin(text, 1h);
        if (!claim) return false;
        claim.abandon();
        if (i % 2 == 0) {
          if (scope.mark(text) != Verdict::fresh) return false;
        } else {
          claim = scope.begin(text, 1h);
          if (!claim.complete()) return false;
        }
      }
      return true;
    };
    expect(work(1 + 2'000 * round, 100), "it warms up");
    // One thread, which the flusher does not disturb within the hour.
    forbid_system_calls();
    ::syscall(SYS_exit_group, work(1'000 + 2'000 * round, 300) ? 0 : 1);
    return 2;
  };
  // The flusher may just have the mutex now and then, but not every time.
  int status = -1;
  for (int round = 0; status != 0 && round < 20; ++round) status = wait_for(spawn([&] { return run(round); }));
  CHECK(status == 0);
}
#endif
