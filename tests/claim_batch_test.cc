#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};

}  // namespace

TEST_CASE("a batch claims each id once, and completes or abandons all it holds") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  const Marked known = scope.mark("id 3");
  const Claim held = scope.begin("id 70", 1h);
  std::optional<Ids> ids(std::in_place, 202, [](std::size_t i) {
    if (i == 1) return std::string("id 5");  // Comes again in the same chunk,
    if (i == 201) i = 0;                     // and this one for the second time, in a later chunk.
    return "id " + std::to_string(i == 0 ? 0 : i - 1);
  });
  const auto fresh = [](const ClaimBatch& batch) { return std::ranges::count(batch.verdicts(), Verdict::fresh); };
  {
    ClaimBatch batch = scope.begin(*ids, 1h);
    REQUIRE(batch.verdicts().size() == ids->size());
    CHECK(fresh(batch) == 198);
    CHECK(batch.verdicts()[1] == Verdict::fresh);
    CHECK(batch.verdicts()[6] == Verdict::duplicate);
    CHECK(batch.verdicts().back() == Verdict::duplicate);
    CHECK(batch.verdicts()[4] == Verdict::duplicate);
    CHECK(batch.verdicts()[71] == Verdict::in_progress);
    CHECK(store.claims().size() == 199);
    CHECK(scope.mark("id 10") == Verdict::in_progress);
    // Another batch of the process has none of it.
    CHECK(fresh(scope.begin(*ids, 1h)) == 0);
  }
  CHECK(store.claims().size() == 1);  // The batch's were abandoned.
  ClaimBatch first = scope.begin(*ids, 1h);
  CHECK(fresh(first) == 198);
  first.abandon();
  first.abandon();
  CHECK(store.claims().size() == 1);
  CHECK(error_code_of([&] { first.complete(); }) == ErrorCode::invalid_argument);

  ClaimBatch second = scope.begin(*ids, 1h);
  ids.reset();  // The claims outlive the caller's ids.
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
