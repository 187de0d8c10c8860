#include <oncelog/c.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "background/flusher.h"
#include "parts.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// The next allocation of so many bytes or more fails, once; 0 for none.
std::atomic<std::size_t> fails_from{0};

/// Of one thread's allocations the n-th fails, or all from the n-th on.
struct Failing {
  bool armed = false;
  bool all = false;
  int left = 0;
  int failed = 0;

  bool next_fails() {
    if (!armed || (left > 0 && --left > 0) || (failed != 0 && !all)) return false;
    ++failed;
    return true;
  }
};
thread_local constinit Failing failing;

void* allocate(std::size_t bytes) {
  if (failing.next_fails()) throw std::bad_alloc();
  const std::size_t from = fails_from.load();
  if (from != 0 && bytes >= from) {
    fails_from.store(0);
    throw std::bad_alloc();
  }
  if (void* const memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// Not inline, where compilers would hold what they see of one against the other.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  return allocate(bytes);
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return std::malloc(bytes);  // The standard library's temporary buffers do without.
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace {

constexpr std::size_t kLarge = 500'000;
const std::string kResult(kLarge, 'r');
const Options kOptions{.retention = 1h, .flush_interval = 1h};

}  // namespace

TEST_CASE("a transaction that is committed never fails for want of memory") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  // Its buffers have their sizes after that.
  store.transact([&](Transaction& tx) { tx.mark(scope, "first", {.result = kResult}); });
  for (int allocation = 1; allocation <= 3; ++allocation) {
    CAPTURE(allocation);
    const std::string id = "id " + std::to_string(allocation);
    bool committed = true;
    try {
      store.transact([&](Transaction& tx) {
        tx.mark(scope, id, {.result = kResult});
        tx.put("t", id, "v");
        fails_from.store(kLarge / static_cast<std::size_t>(allocation));
      });
    } catch (const std::bad_alloc&) {
      committed = false;
    }
    fails_from.store(0);
    CHECK(store.get("t", id).has_value() == committed);
    CHECK(scope.contains(id) == committed);
    CHECK(scope.mark(id) == (committed ? Verdict::duplicate : Verdict::fresh));
    CHECK(store.claims().empty());
  }
}

TEST_CASE("what cannot be claimed for want of memory stays free") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  const auto mark_failing = [&] {
    store.transact([&](Transaction& tx) {
      fails_from.store(kLarge);
      tx.mark(scope, "a", {.result = kResult});
    });
  };
  CHECK_THROWS_AS(mark_failing(), std::bad_alloc);
  CHECK(scope.mark("a") == Verdict::fresh);
  const std::string correlation(1000, 'c');
  fails_from.store(correlation.size());
  CHECK_THROWS_AS(scope.begin("b", 1h, {.correlation = correlation}), std::bad_alloc);
  fails_from.store(0);
  CHECK(scope.begin("b", 1h));
  CHECK(store.claims().empty());
}

namespace {

/// Calls work(), in which the n-th allocation of this thread fails, or all from the n-th on: for all n until work() is
/// through without. After each check(whether it returned) is called. What work() makes it destroys.
void fail_each_allocation(const std::function<void(int)>& work, const std::function<void(int, bool)>& check) {
  int run = 0;
  for (const bool all : {false, true}) {
    CAPTURE(all);
    for (int n = 1; n == 1 || failing.failed != 0; ++n) {
      CAPTURE(n);
      REQUIRE(n < 1'000);
      bool returned = true;
      ++run;
      failing = {.armed = true, .all = all, .left = n};
      try {
        work(run);
      } catch (const std::exception&) {  // An Error, where it could still be made.
        returned = false;
      }
      failing.armed = false;
      check(run, returned);
    }
    failing.failed = 0;
  }
}

const std::string kLong(200, 'x');  // No short string, which would take no memory.

std::string id_of(int run, const char* what = "") {
  return what + std::to_string(run) + kLong;
}

}  // namespace

TEST_CASE("claims, batches and locks end freed or marked, whichever allocation fails") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  const Attributes attributes{.correlation = kLong, .result = kLong};
  SUBCASE("completed") {
    fail_each_allocation(
        [&](int run) {
          Claim claim = scope.begin(id_of(run), 1h, attributes);
          claim.complete({.result = kLong});
        },
        [&](int run, bool returned) {
          CHECK(store.claims().empty());
          CHECK(scope.contains(id_of(run)) == returned);
        });
  }
  SUBCASE("abandoned, by a thread that has not used the store before") {
    fail_each_allocation(
        [&](int run) {
          Claim claim = scope.begin(id_of(run), 1h, attributes);
          const Failing armed = std::exchange(failing, {});
          Failing seen;
          std::thread([&, mine = std::move(claim)]() mutable {
            failing = armed;
            { const Claim ends = std::move(mine); }
            seen = std::exchange(failing, {});
          }).join();
          failing = seen;
        },
        [&](int run, bool) {
          CHECK(store.claims().empty());
          CHECK(scope.mark(id_of(run)) == Verdict::fresh);
        });
  }
  SUBCASE("batches") {
    fail_each_allocation(
        [&](int run) {
          const std::string ids[] = {id_of(run, "a"), id_of(run, "b"), id_of(run, "c")};
          const std::vector<std::string_view> views(std::begin(ids), std::end(ids));
          ClaimBatch batch = scope.begin(views, 1h);
          batch.abandon_from(2);
          batch.complete();
          ClaimBatch rest = scope.begin(std::span(views).subspan(2), 1h);
        },
        [&](int run, bool returned) {
          CHECK(store.claims().empty());
          if (returned) CHECK(scope.contains(id_of(run, "a")));
          CHECK(scope.contains(id_of(run, "a")) == scope.contains(id_of(run, "b")));
          CHECK_FALSE(scope.contains(id_of(run, "c")));
        });
  }
  SUBCASE("locks") {
    fail_each_allocation(
        [&](int run) {
          Lock lock = store.lock(id_of(run), 1h);
          lock.renew(2h);
          Lock other = std::move(lock);
          other.release();
        },
        [&](int, bool) { CHECK(store.claims().empty()); });
  }
}

TEST_CASE("a transaction commits whole or leaves nothing, whichever allocation fails") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const Scope scope = store.scope("orders");
  std::optional<Claim> claim;
  fail_each_allocation(
      [&](int run) {
        claim = scope.begin(id_of(run, "claimed"), 1h, {.correlation = kLong});
        store.transact([&](Transaction& tx) {
          tx.mark(scope, id_of(run, "marked"), {.correlation = kLong, .result = kLong});
          tx.complete(*claim, {.result = kLong});
          tx.put("t", id_of(run), kLong);
        });
      },
      [&](int run, bool returned) {
        claim.reset();
        CHECK(store.claims().empty());
        CHECK(store.get("t", id_of(run)).has_value() == returned);
        CHECK(scope.contains(id_of(run, "claimed")) == returned);
        CHECK(scope.contains(id_of(run, "marked")) == returned);
      });
}

TEST_CASE("of the C interface each call returns a code and its error, whichever allocation fails") {
  const TempDir dir;
  const std::string path = dir / "store";
  oncelog_store* store = nullptr;
  oncelog_scope* scope = nullptr;
  REQUIRE(oncelog_open(path.c_str(), nullptr, &store, nullptr) == ONCELOG_OK);
  REQUIRE(oncelog_store_scope(store, "orders", 6, nullptr, &scope, nullptr) == ONCELOG_OK);
  oncelog_attributes attributes = {};
  attributes.size = sizeof attributes;
  attributes.correlation = {kLong.data(), kLong.size()};
  attributes.result = attributes.correlation;
  oncelog_error* error = nullptr;
  oncelog_code code = ONCELOG_OK;
  // What throws here is what the helper counts as failed.
  const auto done = [&](oncelog_code returned) {
    code = returned;
    if (code != ONCELOG_OK) throw std::runtime_error("failed");
  };
  fail_each_allocation(
      [&](int run) {
        char id[100];  // Not a string: its allocation would fail first.
        const auto bytes = static_cast<std::size_t>(std::snprintf(id, sizeof id, "%099d", run));
        oncelog_claim* claim = nullptr;
        done(oncelog_begin(scope, id, bytes, 60'000, &attributes, 0, &claim, &error));
        const oncelog_code completed =
            oncelog_claim_complete(claim, &attributes, ONCELOG_ACK_DEFAULT, nullptr, nullptr, &error);
        oncelog_claim_free(claim);
        done(completed);
        const oncelog_record* record = nullptr;
        done(oncelog_find(scope, id, bytes, &record, &error));
        oncelog_free(record);
        const void* const pointers[] = {id, "b"};
        const std::size_t lengths[] = {bytes, 1};
        oncelog_ids ids = {};
        ids.size = sizeof ids;
        ids.count = 2;
        ids.pointers = pointers;
        ids.lengths = lengths;
        const oncelog_record* const* records = nullptr;
        done(oncelog_find_batch(scope, &ids, &records, &error));
        oncelog_free(records);
        const oncelog_text* names = nullptr;
        std::size_t count = 0;
        done(oncelog_store_scopes(store, &names, &count, &error));
        oncelog_free(names);
      },
      [&](int, bool returned) {
        CHECK(returned == (code == ONCELOG_OK));
        CHECK(returned == (error == nullptr));
        if (!returned) CHECK(oncelog_error_code(error) == ONCELOG_OUT_OF_MEMORY);
        if (!returned) CHECK(oncelog_error_sentence(error) == std::string("out of memory"));
        oncelog_error_free(std::exchange(error, nullptr));
      });
  oncelog_scope_free(scope);
  oncelog_store_free(store);
}

TEST_CASE("a store closes, and what was marked is there when it is opened again, whichever allocation fails") {
  const TempDir dir;
  std::optional<Store> store;
  std::optional<Scope> scope;
  std::optional<Claim> claim;
  Options options = kOptions;
  options.on_event = [](const StoreEvent&) {};
  const auto open = [&](int run) {
    store = Store::open(dir / "store", options);
    scope = store->scope("orders");
    scope->mark(id_of(run), {.correlation = kLong});
    claim = scope->begin(id_of(run, "claimed"), 1h);
  };
  open(1);
  fail_each_allocation(
      [&](int) {
        store.reset();
        scope.reset();
        claim.reset();  // The last handle.
      },
      [&](int run, bool) {
        open(run + 1);  // A store that is open already would refuse the hook.
        CHECK(scope->contains(id_of(run)));
        CHECK(store->claims().size() == 1);
      });
}

TEST_CASE("the background outlives an error that there is no memory to note") {
  Parts parts;
  parts.open();
  internal::Flusher flusher(parts.tables.env, *parts.tables.log, *parts.tables.catalog, *parts.live,
                            parts.identity.hash_seed, 1ms);
  const Error error(ErrorCode::io, std::string(kLarge, 'x'));
  std::atomic<int> rounds{0};
  internal::Flusher::Chores chores;
  chores.upkeep_due = [] { return false; };
  chores.upkeep = [&]() -> bool {
    rounds.fetch_add(1);
    fails_from.store(kLarge);
    throw Error(error);
  };
  chores.report = chores.reap = [] {};
  flusher.start(std::move(chores));
  wait_until([&] { return rounds.load() >= 3; });
  flusher.stop();
  fails_from.store(0);
  CHECK(flusher.last_error() == "out of memory");
}
