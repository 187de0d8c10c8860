#include <string>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

std::vector<Record> scan(const Store& store, const ScanRange& range = {}) {
  std::vector<Record> records;
  store.scan(range, [&](const Record& record) {
    records.push_back(record);
    return true;
  });
  return records;
}

}  // namespace

TEST_CASE("a scan visits every live record once, oldest first, flushed or not") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.flush_interval = 1h});
  const Scope scope = store.scope("s");
  CHECK(scan(store).empty());
  for (int i = 0; i < 5'000; ++i) scope.mark(std::to_string(i));
  store.sync();
  for (int i = 5'000; i < 6'000; ++i) scope.mark(std::to_string(i));
  const auto records = scan(store);
  REQUIRE(records.size() == 6'000);
  for (std::size_t i = 0; i < records.size(); ++i) {
    REQUIRE(records[i].id == std::to_string(i));
    REQUIRE(records[i].scope == "s");
    REQUIRE(scope.find(records[i].id)->lsn == records[i].lsn);
  }
}

TEST_CASE("a scan keeps to its scope, to its times and to the visitor's will") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", {.retention = 80s}, host);
  const Scope even = store.scope("even");
  const Scope odd = store.scope("odd");
  for (int i = 0; i < 40; ++i) {
    (i % 2 == 0 ? even : odd).mark(std::to_string(i));
    host.advance(1s);
  }
  CHECK(scan(store, {.scope = "even"}).size() == 20);
  CHECK(scan(store, {.scope = "none"}).empty());
  const Time start{std::chrono::microseconds{FakeHost::kStartUs}};
  const auto some = scan(store, {.since = start + 10s, .until = start + 20s});
  REQUIRE(some.size() == 10);
  CHECK(some.front().id == "10");
  CHECK(some.back().id == "19");
  CHECK(scan(store, {.scope = "odd", .since = start + 10s, .until = start + 20s}).size() == 5);
  int visits = 0;
  store.scan({}, [&](const Record&) { return ++visits < 7; });
  CHECK(visits == 7);
  host.advance(60s);  // The first 21 are past their retention.
  CHECK(scan(store).size() == 19);
}

TEST_CASE("a visitor may mark, and what it throws comes out") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", {.ring_bytes = std::uint64_t{64} << 10});
  const Scope scope = store.scope("s");
  const Scope seen = store.scope("seen");
  for (int i = 0; i < 3'000; ++i) scope.mark(std::to_string(i));
  std::size_t visits = 0;
  store.scan({.scope = "s"}, [&](const Record& record) {
    ++visits;
    REQUIRE(seen.mark(record.id) == Verdict::fresh);
    return true;
  });
  CHECK(visits == 3'000);
  CHECK(scan(store).size() == 6'000);
  CHECK_THROWS_WITH(store.scan({}, [](const Record&) -> bool { throw std::runtime_error("enough"); }), "enough");
}
