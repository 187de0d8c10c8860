#include <array>
#include <string_view>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("what a batch gives back from a position on is free, and completing it marks what comes before") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope orders = store.scope("orders");
  orders.mark("known");
  const Claim elsewhere = orders.begin("taken", 1h);
  const std::array<std::string_view, 6> ids{"a", "known", "b", "taken", "c", "a"};
  ClaimBatch batch = orders.begin(ids, 1h);
  CHECK(batch.verdicts()[3] == Verdict::in_progress);
  CHECK(store.claims().size() == 4);
  batch.abandon_from(3);
  CHECK(batch.verdicts().size() == 3);
  CHECK(store.claims().size() == 3);  // a, b and the one elsewhere.
  CHECK(orders.begin("c", 1h) == Verdict::fresh);
  std::size_t late = 1;
  batch.complete(&late);
  CHECK(late == 0);
  CHECK(orders.contains("a"));
  CHECK(orders.contains("b"));
  CHECK_FALSE(orders.contains("c"));
}

TEST_CASE("a batch that gives back nothing, or all of it, is a batch still") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope orders = store.scope("orders");
  const std::array<std::string_view, 2> ids{"a", "b"};
  ClaimBatch batch = orders.begin(ids, 1h);
  batch.abandon_from(2);
  CHECK(store.claims().size() == 2);
  batch.abandon_from(0);
  CHECK(store.claims().empty());
  CHECK(batch.complete() == Lsn{});
  CHECK_FALSE(orders.contains("a"));
}

TEST_CASE("a store names the scopes that were used, oldest first") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  CHECK(store.scopes().empty());
  store.scope("orders");
  store.scope("mails");
  store.scope("orders");
  CHECK(store.scopes() == std::vector<std::string>{"orders", "mails"});
}
