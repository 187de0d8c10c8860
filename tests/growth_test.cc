#include <string>
#include <vector>

#include "parts.h"
#include "support.h"
#include "window/index.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto kSlice = 10s;
const Options kSmall{.retention = 80s, .buckets = 8, .expected_ids = 1, .ring_bytes = std::uint64_t{64} << 10};

/// Marks ids of these numbers, all of them fresh, and has the store look for what it needs now and then, as its own
/// thread does at its leisure.
void mark_fresh(const Store& store, const Scope& scope, std::uint64_t begin, std::uint64_t end) {
  for (std::uint64_t id = begin; id < end; ++id) {
    REQUIRE(scope.mark(std::to_string(id)) == Verdict::fresh);
    if (id % 512 == 511) store.expire();
  }
}

constexpr std::uint64_t kHeaderBytes = internal::kFileHeaderBytes;

std::uint64_t index_bytes_for(std::uint64_t ids) {
  return internal::IndexTable::file_bytes(internal::IndexTable::slots_for(ids));
}

}  // namespace

TEST_CASE("index and filter grow with what comes, and no id is lost or made up on the way") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kSmall, host);
  const Scope scope = store.scope("s");
  constexpr std::uint64_t kIds = 20'000;
  mark_fresh(store, scope, 0, kIds);
  const Metrics metrics = store.metrics();
  REQUIRE(metrics.live_buckets.size() == 1);
  CHECK(metrics.index_bytes >= index_bytes_for(kIds));
  CHECK(metrics.ids == kIds);
  for (std::uint64_t id = 0; id < kIds; ++id) {
    REQUIRE(scope.contains(std::to_string(id)));
    REQUIRE(scope.mark(std::to_string(id)) == Verdict::duplicate);
  }
  for (std::uint64_t id = kIds; id < 2 * kIds; ++id) REQUIRE_FALSE(scope.contains(std::to_string(id)));
  CHECK(store.metrics().ids == kIds);
}

TEST_CASE("the bucket after a full one is planned larger, and those after a fall in traffic shrink by half at a time") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kSmall, host);
  const Scope scope = store.scope("s");
  mark_fresh(store, scope, 0, 20'000);
  std::uint64_t before = 0;
  for (std::uint64_t id = 20'000; id < 20'012; ++id) {
    host.advance(kSlice);
    mark_fresh(store, scope, id, id + 1);
    const BucketMetrics bucket = store.metrics().live_buckets.back();
    CHECK(bucket.ids == 1);
    CHECK(bucket.index_tables == 1);
    CHECK(bucket.index_bytes >= (before == 0 ? index_bytes_for(20'000) : index_bytes_for(1024)));
    // A table has a few slots more than planned, and the next plan begins from them.
    if (before > 2 * index_bytes_for(1024)) CHECK(bucket.index_bytes <= before * 55 / 100 + kHeaderBytes);
    before = bucket.index_bytes;
  }
  for (std::uint64_t id = 20'005; id < 20'012; ++id) CHECK(scope.contains(std::to_string(id)));
}

TEST_CASE("a bucket planned from the traffic before it needs no second table, and its filter none either") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kSmall, host);
  const Scope scope = store.scope("s");
  mark_fresh(store, scope, 0, 8'000);
  host.advance(kSlice);
  store.expire();
  mark_fresh(store, scope, 8'000, 8'001);
  const std::uint64_t index_bytes = store.metrics().live_buckets.back().index_bytes;
  mark_fresh(store, scope, 8'001, 15'000);
  const Metrics metrics = store.metrics();
  REQUIRE(metrics.live_buckets.size() == 2);
  CHECK(metrics.live_buckets[1].index_tables == 1);
  CHECK(metrics.live_buckets[1].index_bytes == index_bytes);
}
