#include <unistd.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};

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
  CHECK(claims[1].id == long_id.substr(0, 56));
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
