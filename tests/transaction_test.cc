#include <signal.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "shared.h"
#include "store_files.h"
#include "support.h"
#include "table_entries.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};
const Options kSmallRing{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 64 << 10};

std::vector<std::string> scanned_ids(const Store& store) {
  std::vector<std::string> ids;
  store.scan({}, [&](const Record& record) {
    ids.push_back(record.id);
    return true;
  });
  return ids;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("a transaction's effects and marks are there together, on disk, when it returns") {
  const TempDir dir;
  {
    const Store store = Store::open(dir / "store", kOptions);
    const Scope orders = store.scope("orders");
    const Scope mails = store.scope("mails");
    orders.mark("before");
    store.transact([&](Transaction& tx) {
      CHECK(tx.mark(orders, "id") == Verdict::fresh);
      CHECK(tx.mark(mails, "id", {.correlation = "c", .fingerprint = 4, .result = "sent", .source = {"q", 1, 2}}) ==
            Verdict::fresh);
      tx.put("orders", "7", "paid");
      // Outside there is nothing of it yet.
      CHECK_FALSE(orders.contains("id"));
      CHECK_FALSE(orders.find("id"));
      CHECK(orders.mark("id") == Verdict::in_progress);
      CHECK(orders.begin("id", 1h) == Verdict::in_progress);
      CHECK_FALSE(store.get("orders", "7"));
      CHECK(scanned_ids(store) == Texts{"before"});
    });
    CHECK(orders.contains("id"));
    CHECK(orders.mark("id") == Verdict::duplicate);
    CHECK(store.durable() > orders.find("id")->lsn);
    CHECK(store.durable() > mails.find("id")->lsn);
    CHECK(mails.find("id")->result == "sent");
    CHECK(store.get("orders", "7") == "paid");
    CHECK(scanned_ids(store) == Texts{"before", "id", "id"});
    CHECK(store.claims().empty());
    orders.mark("after");
  }
  SUBCASE("and after reopening") {}
  SUBCASE("and after a rebuild") {
    remove_derived(dir / "store");
  }
  const Store store = Store::open(dir / "store", kOptions);
  CHECK(store.scope("orders").mark("id") == Verdict::duplicate);
  const auto record = store.scope("mails").find("id");
  REQUIRE(record);
  CHECK(record->correlation == "c");
  CHECK(record->fingerprint == 4);
  CHECK(record->result == "sent");
  CHECK(record->source == Source{"q", 1, 2});
  CHECK(store.get("orders", "7") == "paid");
  CHECK(scanned_ids(store) == Texts{"before", "id", "id", "after"});
}

TEST_CASE("a transaction that throws leaves neither effects nor marks") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope orders = store.scope("orders");
  store.transact([](Transaction& tx) { tx.put("orders", "7", "open"); });
  const auto fail = [&](const auto& what) {
    store.transact([&](Transaction& tx) {
      CHECK(tx.mark(orders, "id") == Verdict::fresh);
      tx.put("orders", "7", "paid");
      throw what;
    });
  };
  CHECK_THROWS_AS(fail(std::runtime_error("no")), std::runtime_error);
  CHECK_THROWS_AS(fail(7), int);
  CHECK(store.get("orders", "7") == "open");
  CHECK_FALSE(orders.contains("id"));
  CHECK(store.claims().empty());
  CHECK(orders.mark("id") == Verdict::fresh);
  CHECK(scanned_ids(store) == Texts{"id"});
}

TEST_CASE("a transaction's mark answers as a mark does") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
  const Store other = Store::open(dir / "other", kOptions);
  const Scope orders = store.scope("orders");
  const Marked known = orders.mark("known", {.fingerprint = 1, .source = {"q", 0, 7}});
  Claim claim = orders.begin("claimed", 1h);
  store.transact([&](Transaction& tx) {
    CHECK(tx.mark(orders, "id") == Verdict::fresh);
    CHECK(tx.mark(orders, "id") == Marked{Verdict::duplicate, Lsn{}});
    CHECK(tx.mark(store.scope("orders"), "id") == Verdict::duplicate);
    CHECK(tx.mark(orders, "known") == Marked{Verdict::duplicate, known.lsn});
    CHECK(tx.mark(orders, "known", {.fingerprint = 2}) == Marked{Verdict::conflict, known.lsn});
    CHECK(tx.mark(orders, "known", {.source = {"q", 0, 7}}).redelivered);
    CHECK(tx.mark(orders, "claimed") == Marked{Verdict::in_progress, Lsn{}});
    CHECK(tx.mark(orders, "old", {.sent_at = store.known_since() - 1us}) == Verdict::too_old);
    CHECK(error_code_of([&] { tx.mark(other.scope("orders"), "id"); }) == ErrorCode::invalid_argument);
    CHECK(error_code_of([&] { tx.mark(orders, ""); }) == ErrorCode::invalid_argument);
  });
  CHECK(scanned_ids(store) == Texts{"known", "id"});
  CHECK(claim.complete());
}

TEST_CASE("a transaction completes claims, or frees them when it fails") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(dir / "store", kOptions, host);
  const Scope orders = store.scope("orders");
  Claim claim = orders.begin("id", 1min, {.correlation = "c", .fingerprint = 3});
  SUBCASE("by its commit") {
    store.transact([&](Transaction& tx) {
      CHECK(tx.complete(claim, {.result = "r"}));
      CHECK_FALSE(claim);
      CHECK(error_code_of([&] { tx.complete(claim); }) == ErrorCode::invalid_argument);
      CHECK(tx.mark(orders, "id") == Verdict::duplicate);
      // As long as it takes.
      host.advance(2min);
      CHECK(orders.mark("id") == Verdict::in_progress);
    });
    const auto record = orders.find("id");
    REQUIRE(record);
    CHECK(record->correlation == "c");
    CHECK(record->fingerprint == 3);
    CHECK(record->result == "r");
  }
  SUBCASE("by what it throws") {
    CHECK_THROWS_AS(store.transact([&](Transaction& tx) {
      CHECK(tx.complete(claim));
      throw std::runtime_error("no");
    }),
                    std::runtime_error);
    CHECK_FALSE(claim);
    CHECK_FALSE(orders.contains("id"));
    CHECK(orders.begin("id", 1min));
  }
  SUBCASE("but not what is someone else's by now") {
    host.advance(1min);
    Claim taken = orders.begin("id", 1min);
    store.transact([&](Transaction& tx) {
      CHECK_FALSE(tx.complete(claim));
      CHECK_FALSE(claim);
    });
    CHECK_FALSE(orders.contains("id"));
    CHECK(taken.complete());
  }
  SUBCASE("also when their lease is over, if nobody has asked") {
    host.advance(1h);
    store.transact([&](Transaction& tx) { CHECK(tx.complete(claim)); });
    CHECK(orders.contains("id"));
  }
  SUBCASE("not with attributes that are too long") {
    const std::string too_long(kMaxCorrelationBytes + 1, 'x');
    store.transact([&](Transaction& tx) {
      CHECK(error_code_of([&] { tx.complete(claim, {.correlation = too_long}); }) == ErrorCode::invalid_argument);
      CHECK(claim);
    });
    CHECK(claim.complete());
  }
  SUBCASE("unless an operator has released them") {
    CHECK(error_code_of([&] {
            store.transact([&](Transaction& tx) {
              CHECK(tx.complete(claim));
              tx.put("t", "k", "v");
              orders.release("id");
            });
          }) == ErrorCode::in_use);
    CHECK_FALSE(store.get("t", "k"));
    CHECK(orders.mark("id") == Verdict::fresh);
  }
  CHECK(store.claims().empty());
}

TEST_CASE("a claim that a dying transaction was to complete is as free as its scope's handle said") {
  const TempDir dir;
  const Shared<FakeHost> host;
  const auto die_in_transaction = [&](OrphanPolicy orphans) {
    const pid_t child = spawn([&, orphans] {
      const Store store = StoreAccess::open(dir / "store", kOptions, *host);
      const Scope scope = store.scope("orders", {.orphans = orphans});
      Claim claim = scope.begin("id", 1min);
      store.transact([&](Transaction& tx) {
        expect(tx.complete(claim), "the claim is held");
        expect(tx.mark(scope, "another") == Verdict::fresh, "another id is fresh");
        ::raise(SIGKILL);
      });
      return 0;
    });
    CHECK(wait_for(child) == -SIGKILL);
  };
  const Store store = StoreAccess::open(dir / "store", kOptions, *host);
  const Scope scope = store.scope("orders");
  SUBCASE("at once") {
    die_in_transaction(OrphanPolicy::free_at_once);
    CHECK(scope.begin("id", 1min));
  }
  SUBCASE("after its lease") {
    die_in_transaction(OrphanPolicy::free_after_lease);
    CHECK_FALSE(scope.begin("id", 1min));
    host->advance(1min);
    CHECK(scope.begin("id", 1min));
  }
  SUBCASE("never but by an operator") {
    die_in_transaction(OrphanPolicy::keep);
    host->advance(1min);
    CHECK_FALSE(scope.begin("id", 1min));
    CHECK(scope.release("id"));
    CHECK(scope.begin("id", 1min));
  }
  CHECK(scope.begin("another", 1min));
}

TEST_CASE("a child that is forked within a transaction can neither use nor commit it") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope orders = store.scope("orders");
  const Shared<std::atomic<bool>> committed;
  const pid_t parent = ::getpid();
  pid_t child = 0;
  std::optional<ErrorCode> code;
  std::optional<ErrorCode> code_of_put;
  try {
    store.transact([&](Transaction& tx) {
      child = ::fork();
      if (child == 0) {
        wait_until([&] { return committed->load(); });
        try {
          tx.put("t", "child", "v");
        } catch (const Error& error) {
          code_of_put = error.code();
        }
        return;
      }
      tx.put("t", "parent", "v");
      tx.mark(orders, "id");
    });
  } catch (const Error& error) {
    code = error.code();
  }
  if (::getpid() != parent) {
    // Without unwinding into the test.
    ::_exit(code == ErrorCode::forked && code_of_put == ErrorCode::forked ? 0 : 1);
  }
  CHECK_FALSE(code);
  committed->store(true);
  CHECK(wait_for(child) == 0);
  CHECK(table_of(store, "t") == std::vector<std::string>{"parent=v"});
  CHECK(orders.mark("id") == Verdict::duplicate);
  store.transact([&](Transaction& tx) { tx.put("t", "more", "v"); });
  CHECK(store.get("t", "more"));
}

TEST_CASE("the marks of one transaction may take an eighth of the ring, and too many leave nothing") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kSmallRing);
  const Scope orders = store.scope("orders");
  const auto many = [&](Transaction& tx, int count) {
    for (int i = 0; i < count; ++i) tx.mark(orders, "id " + std::to_string(i));
    tx.put("t", "k", std::to_string(count));
  };
  CHECK(error_code_of([&] { store.transact([&](Transaction& tx) { many(tx, 400); }); }) == ErrorCode::invalid_argument);
  // Also when the work does not let the error out, as it should.
  CHECK(error_code_of([&] { store.transact([&](Transaction& tx) { CHECK_THROWS_AS(many(tx, 400), Error); }); }) ==
        ErrorCode::invalid_argument);
  CHECK_FALSE(store.get("t", "k"));
  CHECK(store.claims().empty());
  for (int i = 0; i < 400; ++i) REQUIRE_FALSE(orders.contains("id " + std::to_string(i)));
  for (int round = 0; round < 3; ++round) store.transact([&](Transaction& tx) { many(tx, 100 * (round + 1) / 2); });
  CHECK(store.get("t", "k") == "150");
  for (int i = 0; i < 150; ++i) CHECK(orders.contains("id " + std::to_string(i)));
}

TEST_CASE("within a transaction what would have to write to disk is refused, and has no effect") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kSmallRing);
  const Scope orders = store.scope("orders");
  Claim claim = orders.begin("claimed", 1h);
  const auto refused = [](const std::function<void()>& call) {
    return error_code_of(call) == ErrorCode::invalid_argument;
  };
  std::string ring_filler(900, 'x');
  int marked = 0;
  store.transact([&](Transaction& tx) {
    const Lsn unsynced = orders.mark("unsynced").lsn;  // Nothing is flushed before the end.
    CHECK(refused([&] { store.sync(); }));
    CHECK(refused([&] { store.wait(unsynced); }));
    CHECK(refused([&] { store.transact([](Transaction&) {}); }));
    CHECK(refused([&] { store.scope("a name never used before"); }));
    CHECK(refused([&] { store.expire(); }));
    CHECK(refused([&] { orders.mark("to disk", Ack::disk); }));
    CHECK(refused([&] { orders.forget("unsynced"); }));
    CHECK(refused([&] { claim.complete({}, Ack::disk); }));
    std::vector<Marked> out(1);
    CHECK(refused([&] { orders.mark(std::vector<std::string_view>{"to disk"}, out, Ack::disk); }));
    CHECK(tx.mark(orders, "id") == Verdict::fresh);
    // Until the ring is full.
    CHECK(refused([&] {
      for (;; ++marked) orders.mark(ring_filler + std::to_string(marked));
    }));
    CHECK(refused([&] { claim.complete({.result = ring_filler}); }));
    CHECK(claim);
    tx.put("t", "k", "v");
  });
  CHECK(marked > 30);
  CHECK_FALSE(orders.contains("to disk"));
  CHECK(orders.contains("unsynced"));
  CHECK(orders.contains("id"));
  for (int i = 0; i < marked; ++i) CHECK(orders.contains(ring_filler + std::to_string(i)));
  CHECK_FALSE(orders.contains(ring_filler + std::to_string(marked)));
  CHECK(store.get("t", "k") == "v");
  CHECK(claim.complete());
  CHECK_NOTHROW(store.sync());
}

TEST_CASE("while a transaction runs others mark until the ring is full, and go on when it has ended") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kSmallRing);
  const Scope orders = store.scope("orders");
  const int count = static_cast<int>(scaled(10'000, 4'000));
  std::vector<std::thread> threads;
  store.transact([&](Transaction& tx) {
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < count; ++i) {
          orders.mark("thread " + std::to_string(t) + " id " + std::to_string(i), {.correlation = "chain"});
        }
      });
    }
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        store.transact([&](Transaction& next) { next.mark(orders, "transaction " + std::to_string(i)); });
      }
    });
    threads.emplace_back([&] { store.sync(); });
    const std::uint64_t ring = *kSmallRing.ring_bytes;
    wait_until([&] {
      const Metrics metrics = store.metrics();
      return metrics.head.value - metrics.durable.value >= ring - ring / 8 - 256;
    });
    for (int i = 0; i < 100; ++i) CHECK(tx.mark(orders, "id " + std::to_string(i)) == Verdict::fresh);
  });
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 100; ++i) CHECK(orders.contains("id " + std::to_string(i)));
  CHECK(store.correlated("chain").size() == static_cast<std::size_t>(2 * count));
  CHECK(scanned_ids(store).size() == static_cast<std::size_t>(2 * count + 120));
}

TEST_CASE("transactions of several processes come one after the other, and none is lost") {
  const TempDir dir;
  constexpr int kProcesses = 4;
  const int each = static_cast<int>(scaled(60, 10));
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    children.push_back(spawn([&, p] {
      const Store store = Store::open(dir / "store", kSmallRing);
      const Scope orders = store.scope("orders");
      for (int i = 0; i < each; ++i) {
        store.transact([&](Transaction& tx) {
          const int before = std::stoi(std::string(tx.get("t", "count").value_or("0")));
          expect(tx.mark(orders, std::to_string(p) + "-" + std::to_string(i)) == Verdict::fresh, "a new id is fresh");
          // Of all of them only the first one's is fresh.
          if (tx.mark(orders, "shared " + std::to_string(i)) == Verdict::fresh) {
            tx.put("t", "shared", std::to_string(std::stoi(std::string(tx.get("t", "shared").value_or("0"))) + 1));
          }
          tx.put("t", "count", std::to_string(before + 1));
        });
      }
      return 0;
    }));
  }
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  const Store store = Store::open(dir / "store", kSmallRing);
  CHECK(store.get("t", "count") == std::to_string(kProcesses * each));
  CHECK(store.get("t", "shared") == std::to_string(each));
  CHECK(scanned_ids(store).size() == static_cast<std::size_t>((kProcesses + 1) * each));
}

TEST_CASE("a map that is full makes the transaction fail whole, wherever that is found out") {
  const TempDir dir;
  Options options = kSmallRing;
  options.map_bytes = 2 << 20;
  const Store store = Store::open(dir / "store", options);
  const Scope orders = store.scope("orders");
  store.transact([&](Transaction& tx) { tx.put("t", "k", "before"); });
  const std::string page(3'000, 'x');
  const auto fill = [&](Transaction& tx, int pages) {
    CHECK(tx.mark(orders, "id") == Verdict::fresh);
    tx.put("t", "k", "filled");
    for (int i = 0; i < pages; ++i) tx.put("fill", std::to_string(i), page);
  };
  int fits = 0;
  CHECK(error_code_of([&] {
          store.transact([&](Transaction& tx) {
            fill(tx, 0);
            for (;; ++fits) tx.put("fill", std::to_string(fits), page);
          });
        }) == ErrorCode::full);
  CHECK(fits > 50);
  int failed_at_commit = 0;
  bool at_commit = false;
  for (bool committed = false; !committed;) {
    CHECK(store.get("t", "k") == "before");
    CHECK_FALSE(store.get("fill", "0"));
    CHECK_FALSE(orders.contains("id"));
    CHECK(store.claims().empty());
    CHECK(scanned_ids(store).empty());
    bool worked = false;
    try {
      store.transact([&](Transaction& tx) {
        fill(tx, fits - failed_at_commit);
        worked = true;
      });
      committed = true;
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::full);
      at_commit |= worked;  // The background, too, may have committed something since `fits` was found out.
      ++failed_at_commit;
    }
  }
  CHECK(at_commit);
  CHECK(failed_at_commit > 0);
  CHECK(orders.mark("id") == Verdict::duplicate);
  CHECK(store.get("t", "k") == "filled");
  CHECK(scanned_ids(store) == Texts{"id"});
}

TEST_CASE("marks of one transaction join their chains in order, those of failed ones leave no gap") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope orders = store.scope("orders");
  Texts expected;
  const auto check = [&](const Store& of) {
    Texts ids;
    for (const Record& record : of.correlated("c")) ids.push_back(record.id);
    CHECK(ids == expected);
  };
  for (int i = 0; i < 20; ++i) {
    const std::string n = std::to_string(i);
    orders.mark("plain " + n, {.correlation = "c"});
    expected.push_back("plain " + n);
    store.transact([&](Transaction& tx) {
      for (const char* id : {"a ", "b ", "c "}) {
        tx.mark(orders, id + n, {.correlation = "c"});
        tx.mark(orders, std::string("other ") + id + n, {.correlation = "d"});
        expected.push_back(id + n);
      }
      CHECK(store.correlated("c").size() == expected.size() - 3);
    });
    CHECK_THROWS_AS(store.transact([&](Transaction& tx) {
      tx.mark(orders, "thrown " + n, {.correlation = "c"});
      throw 1;
    }),
                    int);
    check(store);
  }
  CHECK(store.correlated("d").size() == 60);
}

TEST_CASE("a transaction may mark thousands of ids, all of one chain or of as many") {
  const TempDir dir;
  Options options = kOptions;
  options.ring_bytes = 16 << 20;
  const Store store = Store::open(dir / "store", options);
  const Scope orders = store.scope("orders");
  const int count = static_cast<int>(scaled(12'000, 1'000));
  store.transact([&](Transaction& tx) {
    for (int i = 0; i < count; ++i) {
      const std::string n = std::to_string(i);
      REQUIRE(tx.mark(orders, n, {.correlation = i % 2 == 0 ? "one" : n}) == Verdict::fresh);
    }
  });
  CHECK(store.correlated("one").size() == static_cast<std::size_t>(count / 2));
  CHECK(store.correlated("1").size() == 1);
  for (int i = 0; i < count; ++i) REQUIRE(orders.contains(std::to_string(i)));
  CHECK(store.claims().empty());
}

TEST_CASE("a read-only store and a child made by fork transact nothing") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  store.transact([](Transaction& tx) { tx.put("t", "k", "v"); });
  CHECK(wait_for(spawn([&] {
          expect(error_code_of([&] { store.transact([](Transaction&) {}); }) == ErrorCode::forked, "fork is told");
          Options options = kOptions;
          options.read_only = true;
          const Store reading = Store::open(dir / "store", options);
          expect(error_code_of([&] { reading.transact([](Transaction&) {}); }) == ErrorCode::read_only,
                 "read_only is told");
          expect(reading.get("t", "k") == "v", "tables are read");
          return 0;
        })) == 0);
}

TEST_CASE("transactions without marks, without effects and without either are fine") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope orders = store.scope("orders");
  store.transact([](Transaction&) {});
  store.transact([](Transaction& tx) { tx.put("t", "k", "v"); });
  store.transact([&](Transaction& tx) { tx.mark(orders, "id"); });
  store.transact([&](Transaction& tx) { CHECK(tx.mark(orders, "id") == Verdict::duplicate); });
  CHECK(store.get("t", "k") == "v");
  CHECK(orders.contains("id"));
}
