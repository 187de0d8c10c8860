#include <oncelog/event.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// What a Decision said, past the call that it is valid in.
struct Told {
  Verdict verdict;
  std::string scope;
  std::string id;
  std::string correlation;
  std::optional<Time> first_seen;

  bool operator==(const Told&) const = default;
};

/// A store at a standing clock whose decisions are written down.
struct Listening {
  TempDir dir;
  FakeHost host;
  std::vector<Told> told;
  Store store = StoreAccess::open(dir / "store", {.retention = 1h, .on_decision = hook()}, host);
  Scope scope = store.scope("orders");

  DecisionHook hook() {
    return [this](const Decision& decision) {
      told.push_back({decision.verdict, std::string(decision.scope), std::string(decision.id),
                      std::string(decision.correlation), decision.first_seen});
    };
  }
  std::vector<Told> take() { return std::exchange(told, {}); }
  Time processed_at(std::string_view id) const { return scope.find(id).value().processed_at; }
};

}  // namespace

TEST_CASE("each mark is told once, with what the caller said and when a duplicate was first seen") {
  Listening test;
  test.scope.mark("a", {.correlation = "c"});
  CHECK(test.take() == std::vector<Told>{{Verdict::fresh, "orders", "a", "c", std::nullopt}});
  const Time first = test.processed_at("a");
  test.host.advance(1min);
  test.scope.mark("a");
  CHECK(test.take() == std::vector<Told>{{Verdict::duplicate, "orders", "a", "", first}});

  const std::vector<std::string_view> ids{"b", "a", "b"};
  std::vector<Marked> marked(3);
  test.scope.mark(ids, marked);
  const Time second = test.processed_at("b");
  CHECK(second > first);
  CHECK(test.take() == std::vector<Told>{{Verdict::fresh, "orders", "b", "", std::nullopt},
                                         {Verdict::duplicate, "orders", "a", "", first},
                                         {Verdict::duplicate, "orders", "b", "", second}});
}

TEST_CASE("a conflict and what is too old are told") {
  Listening test;
  test.scope.mark("a", {.fingerprint = 1});
  const Time first = test.processed_at("a");
  test.scope.mark("a", {.fingerprint = 2});
  test.scope.mark("old", {.sent_at = test.store.known_since() - 1s});
  CHECK(test.take() == std::vector<Told>{{Verdict::fresh, "orders", "a", "", std::nullopt},
                                         {Verdict::conflict, "orders", "a", "", first},
                                         {Verdict::too_old, "orders", "old", "", std::nullopt}});
}

TEST_CASE("claims are told when they are begun, one by one and in batches") {
  Listening test;
  Claim held = test.scope.begin("a", 1min, {.correlation = "c"});
  test.scope.begin("a", 1min);
  CHECK(test.take() == std::vector<Told>{{Verdict::fresh, "orders", "a", "c", std::nullopt},
                                         {Verdict::in_progress, "orders", "a", "", std::nullopt}});
  REQUIRE(held.complete());
  CHECK(test.take().empty());
  const Time first = test.processed_at("a");
  test.scope.begin("a", 1min);
  CHECK(test.take() == std::vector<Told>{{Verdict::duplicate, "orders", "a", "", first}});

  const std::vector<std::string_view> ids{"b", "a"};
  const ClaimBatch batch = test.scope.begin(ids, 1min);
  CHECK(test.take() == std::vector<Told>{{Verdict::fresh, "orders", "b", "", std::nullopt},
                                         {Verdict::duplicate, "orders", "a", "", first}});
}

TEST_CASE("a transaction's marks are told, and checks are not") {
  Listening test;
  test.store.transact([&](Transaction& transaction) {
    transaction.mark(test.scope, "a");
    transaction.mark(test.scope, "a");
  });
  CHECK(test.take() == std::vector<Told>{{Verdict::fresh, "orders", "a", "", std::nullopt},
                                         {Verdict::duplicate, "orders", "a", "", std::nullopt}});
  test.scope.contains("a");
  test.scope.find("b");
  CHECK(test.take().empty());
}

TEST_CASE("what the hook throws reaches the caller, and the decision stands") {
  const TempDir dir;
  const Store store =
      Store::open(dir / "store", {.on_decision = [](const Decision&) { throw std::runtime_error("said no"); }});
  const Scope scope = store.scope("orders");
  CHECK_THROWS_WITH_AS(scope.mark("a"), "said no", std::runtime_error);
  CHECK(scope.contains("a"));
  CHECK_THROWS_WITH_AS(scope.begin("b", 1min), "said no", std::runtime_error);
  CHECK_FALSE(scope.contains("b"));
  CHECK(store.claims().empty());  // Nobody got it, so nobody has it.
}

TEST_CASE("a later handle of the same process cannot have hooks of its own") {
  const TempDir dir;
  std::optional<Store> store = Store::open(dir / "store");
  const DecisionHook decided = [](const Decision&) {};
  const StoreEventHook happened = [](const StoreEvent&) {};
  CHECK(error_code_of([&] { Store::open(dir / "store", {.on_decision = decided}); }) == ErrorCode::options_mismatch);
  CHECK(error_code_of([&] { Store::open(dir / "store", {.on_event = happened}); }) == ErrorCode::options_mismatch);
  CHECK_NOTHROW(Store::open(dir / "store"));
  store.reset();
  CHECK_NOTHROW(Store::open(dir / "store", {.on_decision = decided}));
}

TEST_CASE("the hook may destroy the handle that it is called for, the store's last") {
  const TempDir dir;
  std::optional<Scope> scope;
  std::vector<std::string> told;
  const auto open = [&] {
    Options options;
    options.on_decision = [&](const Decision& decision) {
      scope.reset();
      told.push_back(std::string(decision.scope) + ' ' + std::string(decision.id));
    };
    scope = Store::open(dir / "store", options).scope("a scope whose name is too long for a short string");
  };
  const std::string name = "a scope whose name is too long for a short string ";
  open();
  CHECK(scope->mark("a") == Verdict::fresh);
  CHECK(told == std::vector<std::string>{name + "a"});
  open();
  const std::vector<std::string_view> ids{"b", "c", "d"};
  std::vector<Marked> marked(ids.size());
  scope->mark(ids, marked);
  CHECK(told == std::vector<std::string>{name + "a", name + "b", name + "c", name + "d"});
  open();
  CHECK(scope->begin("e", 1min).complete());
  open();
  CHECK(scope->begin(ids, 1min).verdicts().size() == 3);
  open();
  const Store store = Store::open(dir / "store");
  store.transact([&](Transaction& transaction) { CHECK(transaction.mark(*scope, "f") == Verdict::fresh); });
  CHECK_FALSE(scope);
}
