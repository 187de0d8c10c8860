#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// The next allocation of so many bytes or more fails, once; 0 for none.
std::atomic<std::size_t> fails_from{0};

void* allocate(std::size_t bytes) {
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
