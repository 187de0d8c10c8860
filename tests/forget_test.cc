#include <array>
#include <atomic>
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

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 64 << 10};

/// The log's words on an id of "orders": "m" for a mark, "f" for a note that it was forgotten.
std::string history(const Store& store, std::string_view id) {
  std::string words;
  store.scan({.scope = "orders"}, [&](const Record& record) {
    if (record.id == id) words += record.forgotten ? 'f' : 'm';
    return true;
  });
  return words;
}

}  // namespace

TEST_CASE("a forgotten id is fresh again, may be marked again, and the log notes it") {
  const TempDir dir;
  const auto check = [&](const Store& store) {
    const Scope scope = store.scope("orders");
    CHECK(history(store, "marked again") == "mfm");
    CHECK(scope.mark("marked again") == Verdict::duplicate);
    CHECK(history(store, "fresh") == "mf");
    CHECK_FALSE(scope.contains("fresh"));
    CHECK_FALSE(scope.find("fresh"));
    CHECK_FALSE(scope.forget("fresh"));
    CHECK(history(store, "fresh") == "mf");
    CHECK(store.scope("mails").contains("fresh"));
  };
  {
    const Store store = Store::open(dir / "store", kOptions);
    const Scope scope = store.scope("orders");
    CHECK_FALSE(scope.forget("fresh"));
    scope.mark("fresh", {.correlation = "c", .result = "r"});
    store.scope("mails").mark("fresh");
    CHECK(scope.forget("fresh"));
    const Marked first = scope.mark("marked again");
    CHECK(scope.forget("marked again", Ack::host));
    CHECK(scope.begin("marked again", 1h));
    const Marked second = scope.mark("marked again");
    CHECK(second == Verdict::fresh);
    CHECK(second.lsn > first.lsn);
    CHECK(scope.find("marked again")->lsn == second.lsn);
    check(store);
    store.sync();
    check(store);
  }
  SUBCASE("after reopening") {}
  SUBCASE("after a rebuild") {
    remove_derived(dir / "store");
  }
  check(Store::open(dir / "store", kOptions));
}

TEST_CASE("forget is on disk when it returns, unless less is asked for") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  // Nobody can flush meanwhile.
  store.transact([&](Transaction&) {
    scope.mark("id");
    CHECK(scope.forget("id", Ack::host));
    CHECK(store.metrics().durable < store.metrics().head);
    scope.mark("id");
  });
  CHECK(scope.forget("id"));
  CHECK(store.metrics().durable == store.metrics().head);
}

TEST_CASE("forget leaves an expired id, and a claim, as they are") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
  const Scope scope = store.scope("orders");
  scope.mark("id");
  host.advance(1h);
  CHECK_FALSE(scope.forget("id"));
  Claim claim = scope.begin("id", 1h);
  CHECK_FALSE(scope.forget("id"));
  CHECK(scope.begin("id", 1h) == Verdict::in_progress);
  CHECK(claim.complete());
  CHECK(scope.forget("id"));
  // The note expires with the rest.
  host.advance(1h);
  store.expire();
  CHECK(history(store, "id").empty());
  CHECK(scope.mark("id") == Verdict::fresh);
}

TEST_CASE("a read-only store forgets nothing") {
  const TempDir dir;
  Store::open(dir / "store", kOptions).scope("orders").mark("id");
  Options options = kOptions;
  options.read_only = true;
  const Scope scope = Store::open(dir / "store", options).scope("orders");
  CHECK(error_code_of([&] { scope.forget("id"); }) == ErrorCode::read_only);
  CHECK(scope.contains("id"));
}

TEST_CASE("marks and forgets of one id by several processes take turns") {
  const TempDir dir;
  constexpr std::size_t kIds = 7;
  struct Counts {
    std::array<std::atomic<int>, kIds> marked{};
    std::array<std::atomic<int>, kIds> forgotten{};
  };
  const Shared<Counts> counts;
  Options options = kOptions;
  options.flush_interval = 1ms;
  std::vector<pid_t> children;
  for (unsigned p = 0; p < 4; ++p) {
    children.push_back(spawn([&, p] {
      const Store store = Store::open(dir / "store", options);
      const Scope scope = store.scope("orders");
      for (std::size_t i = 0; i < scaled(4'000, 1'000); ++i) {
        const std::size_t id = (i * 5 + p) % kIds;
        if ((i / kIds + p) % 2 == 0) {
          counts->marked[id] += scope.mark(std::to_string(id)) == Verdict::fresh;
        } else {
          counts->forgotten[id] += scope.forget(std::to_string(id), Ack::host);
        }
      }
      return 0;
    }));
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  const Store store = Store::open(dir / "store", options);
  for (std::size_t id = 0; id < kIds; ++id) {
    const std::string name = std::to_string(id);
    const std::string words = history(store, name);
    CHECK(std::ranges::count(words, 'm') == counts->marked[id].load());
    CHECK(std::ranges::count(words, 'f') == counts->forgotten[id].load());
    CHECK(words.find("mm") == std::string::npos);
    CHECK(words.find("ff") == std::string::npos);
    CHECK((words.empty() || words.front() == 'm'));
    CHECK(store.scope("orders").contains(name) == words.ends_with('m'));
  }
}
