#include <string>
#include <vector>

#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 16 << 20};
const Options kSmallRing{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 64 << 10};

std::string result_of(std::size_t bytes) {
  std::string result(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) result[i] = static_cast<char>(i * 131 + bytes);
  return result;
}

}  // namespace

TEST_CASE("a record keeps what the caller knows of its message, in the ring, in the log and after a rebuild") {
  const TempDir dir;
  const std::string longest_id(kMaxIdBytes, 'i');
  const std::string longest_correlation(kMaxCorrelationBytes, 'c');
  const std::string longest_source(kMaxSourceBytes, 's');
  const std::vector<std::size_t> sizes{0, 1, 7, 8, 9, 4'000, 65'000, 65'520, 65'536, 100'000, kMaxResultBytes};
  const auto id_of = [&](std::size_t size) { return size == 9 ? longest_id : "id " + std::to_string(size); };
  const auto check = [&](const Store& store) {
    const Scope scope = store.scope("orders");
    for (const std::size_t size : sizes) {
      CAPTURE(size);
      const auto record = scope.find(id_of(size));
      REQUIRE(record);
      CHECK(record->scope == "orders");
      CHECK(record->id == id_of(size));
      CHECK(record->correlation == longest_correlation);
      CHECK(record->fingerprint == size + 1);
      CHECK(record->result == result_of(size));
      CHECK(record->source == Source{longest_source, 0xFFFF'FFFF, ~std::uint64_t{0}});
      CHECK(scope.mark(id_of(size), {.result = "another"}) == Marked{Verdict::duplicate, record->lsn});
      CHECK(scope.contains(id_of(size), longest_correlation));
      CHECK_FALSE(scope.contains(id_of(size), "another"));
    }
    CHECK(store.correlated(longest_correlation).size() == sizes.size());
    std::size_t scanned = 0;
    store.scan({}, [&](const Record& record) {
      CHECK(record.result == result_of(sizes.at(scanned++)));
      return true;
    });
    CHECK(scanned == sizes.size());
  };
  {
    const Store store = Store::open(dir / "store", kOptions);
    for (const std::size_t size : sizes) {
      const std::string result = result_of(size);
      CHECK(store.scope("orders").mark(id_of(size), {.correlation = longest_correlation,
                                                     .fingerprint = size + 1,
                                                     .result = result,
                                                     .source = {longest_source, 0xFFFF'FFFF, ~std::uint64_t{0}}}) ==
            Verdict::fresh);
    }
    check(store);
    store.sync();
    check(store);
    // Everything out of the ring.
    for (int i = 0; i < 40; ++i) store.scope("mails").mark(std::to_string(i), {.result = result_of(500'000)});
    CHECK(store.scope("orders").find(longest_id)->result == result_of(9));
    for (int i = 0; i < 40; ++i) CHECK(store.scope("mails").forget(std::to_string(i), Ack::host));
  }
  const auto check_orders = [&] {
    const Store store = Store::open(dir / "store", kOptions);
    for (const std::size_t size : sizes) CHECK(store.scope("orders").find(id_of(size))->result == result_of(size));
    CHECK(store.correlated(longest_correlation).size() == sizes.size());
  };
  check_orders();
  remove_derived(dir / "store");
  check_orders();
}

TEST_CASE("a hundred large results pass through a ring that holds few of them") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  const std::string result = result_of(kMaxResultBytes);
  for (int i = 0; i < 100; ++i) REQUIRE(scope.mark(std::to_string(i), {.result = result}) == Verdict::fresh);
  for (int i = 0; i < 100; ++i) REQUIRE(scope.find(std::to_string(i))->result == result);
}

TEST_CASE("attributes beyond their limits are refused, and nothing is marked") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kSmallRing);
  const Scope scope = store.scope("orders");
  const auto refused = [&](const Attributes& attributes) {
    return error_code_of([&] { scope.mark("id", attributes); }) == ErrorCode::invalid_argument &&
           error_code_of([&] {
             std::vector<Marked> out(2);
             scope.mark(std::vector<std::string_view>{"id", "id 2"}, std::vector<Attributes>{{}, attributes}, out,
                        Ack::host);
           }) == ErrorCode::invalid_argument;
  };
  const std::string long_correlation(kMaxCorrelationBytes + 1, 'x');
  const std::string long_source(kMaxSourceBytes + 1, 'x');
  const std::string long_result(kMaxResultBytes + 1, 'x');
  const std::string too_long_for_ring(6'000, 'x');
  CHECK(refused({.correlation = long_correlation}));
  CHECK(refused({.source = {long_source, 0, 0}}));
  CHECK(refused({.result = long_result}));
  CHECK(refused({.result = too_long_for_ring}));
  CHECK_FALSE(scope.contains("id"));
  CHECK(error_code_of([&] { scope.contains("id", ""); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { store.correlated(long_correlation); }) == ErrorCode::invalid_argument);
  std::vector<Marked> out(2);
  CHECK(error_code_of([&] {
          scope.mark(std::vector<std::string_view>{"a", "b"}, std::vector<Attributes>(1), out, Ack::host);
        }) == ErrorCode::invalid_argument);
  // The most that this ring takes, many times over.
  const std::string fits(5'000, 'x');
  for (int i = 0; i < 100; ++i) REQUIRE(scope.mark(std::to_string(i), {.result = fits}) == Verdict::fresh);
}

TEST_CASE("an id that comes again with another payload is a conflict, when both are known") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  const std::uint64_t first = fingerprint("one payload");
  const std::uint64_t second = fingerprint("another payload");
  CHECK(first != second);
  CHECK(first == fingerprint("one payload"));
  CHECK(fingerprint("") != 0);
  const Marked marked = scope.mark("id", {.fingerprint = first});
  const Marked plain = scope.mark("plain");
  for (int round = 0; round < 2; ++round) {
    CHECK(scope.mark("id", {.fingerprint = first}) == Marked{Verdict::duplicate, marked.lsn});
    CHECK(scope.mark("id", {.fingerprint = second}) == Marked{Verdict::conflict, marked.lsn});
    CHECK(scope.mark("id") == Marked{Verdict::duplicate, marked.lsn});
    CHECK(scope.mark("plain", {.fingerprint = second}) == Marked{Verdict::duplicate, plain.lsn});
    CHECK(scope.begin("id", 1s, {.fingerprint = second}) == Verdict::conflict);
    store.sync();
  }
  CHECK(scope.find("id")->fingerprint == first);
}

TEST_CASE("a redelivery of one delivery is told from a second message with the same id") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  CHECK_FALSE(scope.mark("id", {.source = {"topic", 1, 5}}).redelivered);
  CHECK(scope.mark("id", {.source = {"topic", 1, 5}}).redelivered);
  CHECK_FALSE(scope.mark("id", {.source = {"topic", 1, 6}}).redelivered);
  CHECK_FALSE(scope.mark("id", {.source = {"topic", 2, 5}}).redelivered);
  CHECK_FALSE(scope.mark("id", {.source = {"topi", 1, 5}}).redelivered);
  CHECK_FALSE(scope.mark("id").redelivered);
  scope.mark("plain");
  CHECK_FALSE(scope.mark("plain", {.source = {"topic", 1, 5}}).redelivered);
  // A conflict may be one as well.
  scope.mark("both", {.fingerprint = 1, .source = {"topic", 1, 5}});
  CHECK(scope.mark("both", {.fingerprint = 2, .source = {"topic", 1, 5}}).redelivered);
}

TEST_CASE("an unknown id from before all that is remembered is too old, a known one is what it is") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
  const Scope scope = store.scope("orders");
  const Time edge = store.known_since();
  // What was processed just a retention ago is forgotten now.
  CHECK(edge.time_since_epoch().count() == host.wall_us() - 3'600'000'000 + 1);
  CHECK(scope.mark("old", {.sent_at = edge - 1us}) == Marked{Verdict::too_old, Lsn{}});
  CHECK(scope.begin("old", 1s, {.sent_at = edge - 1us}) == Verdict::too_old);
  CHECK_FALSE(scope.begin("old", 1s, {.sent_at = edge - 1us}));
  CHECK_FALSE(scope.contains("old"));
  CHECK(scope.mark("edge", {.sent_at = edge}) == Verdict::fresh);
  CHECK(scope.mark("edge", {.sent_at = edge - 1h}) == Verdict::duplicate);
  CHECK(scope.mark("old") == Verdict::fresh);
  const Claim claim = scope.begin("claimed", 1h);
  CHECK(scope.mark("claimed", {.sent_at = edge - 1us}) == Verdict::in_progress);
  // sent_at alone makes no record larger.
  CHECK(scope.find("edge")->correlation.empty());
}

TEST_CASE("a batch marks each id with its own attributes, also where an id comes twice") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
  const Scope scope = store.scope("orders");
  const std::size_t count = 200;
  const Ids ids(count, [](std::size_t i) {
    if (i == 30) return std::string("10");   // In the same chunk, with another fingerprint,
    if (i == 150) return std::string("20");  // and in a later one.
    if (i == 151) return std::string("11");  // Without attributes.
    return std::to_string(i);
  });
  std::vector<Attributes> attributes(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 2 == 0) attributes[i] = {.correlation = i % 4 == 0 ? "c" : "d", .fingerprint = i + 1, .result = ids[i]};
  }
  attributes[7].sent_at = store.known_since() - 1us;
  std::vector<Marked> out(count);
  scope.mark(ids, attributes, out, Ack::host);
  for (std::size_t i = 0; i < count; ++i) {
    CAPTURE(i);
    const Verdict expected = i == 7                ? Verdict::too_old
                             : i == 30 || i == 150 ? Verdict::conflict
                             : i == 151            ? Verdict::duplicate
                                                   : Verdict::fresh;
    REQUIRE(out[i].verdict == expected);
    if (expected != Verdict::fresh) continue;
    const auto record = scope.find(ids[i]);
    REQUIRE(record);
    CHECK(record->lsn == out[i].lsn);
    CHECK(record->fingerprint == (i % 2 == 0 ? i + 1 : 0));
    CHECK(record->result == (i % 2 == 0 ? ids[i] : ""));
  }
  CHECK(out[30].lsn == out[10].lsn);
  CHECK(store.correlated("c").size() == 50);
  CHECK(store.correlated("d").size() == 48);
  scope.mark(ids, attributes, out, Ack::disk);
  CHECK(std::ranges::count(out, Verdict::fresh, &Marked::verdict) == 0);
  CHECK(store.durable() > out[199].lsn);
}
