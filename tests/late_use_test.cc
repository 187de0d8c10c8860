#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "shared.h"
#include "support.h"

// What destructors of static and thread_local objects may do with a store. Those of the main thread run in a child that
// exits as a program does that returns from main.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// Does something when it is destroyed, and then destroys what it holds of a store.
struct Late {
  std::function<void(Late&)> work;
  std::optional<Store> store;
  std::optional<Scope> scope;
  std::optional<Claim> claim;

  Late() = default;
  Late(const Late&) = delete;
  Late& operator=(const Late&) = delete;
  ~Late() {
    if (work) work(*this);
  }
};

// Made before main, and so destroyed after everything that a store makes at its first use.
Late late_static;
thread_local Late late_thread_local;

/// What `body` sets up in a child, the child's end destroys.
int code_of_exit_after(const std::function<void()>& body) {
  return wait_for(spawn([&]() -> int {
    body();
    std::exit(0);
  }));
}

/// Waits until the store's own thread has it on disk.
void wait_for_background(const Store& store, Lsn lsn) {
  wait_until([&] { return store.durable() > lsn; });
}

}  // namespace

TEST_CASE("a claim that a static object holds is given up when the program ends, and its store closes") {
  const TempDir dir;
  CHECK(code_of_exit_after([&] {
          late_static.store = Store::open(dir / "store");
          late_static.scope = late_static.store->scope("s");
          late_static.claim = late_static.scope->begin("a", 1h);
        }) == 0);
  const Scope scope = Store::open(dir / "store").scope("s");
  CHECK(scope.mark("a") == Verdict::fresh);
}

TEST_CASE("a static object's destructor may mark, and what it marks is flushed in the background") {
  const TempDir dir;
  const Shared<std::atomic<int>> steps;
  CHECK(code_of_exit_after([&] {
          late_static.store = Store::open(dir / "store", {.flush_interval = 1ms});
          late_static.scope = late_static.store->scope("s");
          late_static.scope->contains("a");
          late_static.work = [&](Late& late) {
            wait_for_background(*late.store, late.scope->mark("a").lsn);
            *steps += 1;
          };
        }) == 0);
  CHECK(*steps == 1);
  CHECK(Store::open(dir / "store").scope("s").contains("a"));
}

TEST_CASE("a thread_local object's destructor may mark, in the main thread and in others") {
  const TempDir dir;
  const Shared<std::atomic<int>> steps;
  const auto mark_late = [&](const Store& store, const std::string& id) {
    late_thread_local.work = [&steps, id](Late& late) {  // Made first, and so destroyed last.
      if (late.scope->mark(id) == Verdict::fresh) *steps += 1;
    };
    late_thread_local.store = store;
    late_thread_local.scope = store.scope("s");
    late_thread_local.scope->contains(id);
  };
  CHECK(code_of_exit_after([&] { mark_late(Store::open(dir / "store"), "main"); }) == 0);
  CHECK(*steps == 1);
  {
    const Store store = Store::open(dir / "store");
    std::thread([&] { mark_late(store, "other"); }).join();
    CHECK(*steps == 2);
  }
  // Also as the last handle.
  std::thread([&] { mark_late(Store::open(dir / "store"), "last"); }).join();
  CHECK(*steps == 3);
  const Scope scope = Store::open(dir / "store").scope("s");
  for (const char* id : {"main", "other", "last"}) CHECK(scope.contains(id));
}

TEST_CASE("the destructor of a thread's specific data may mark, whenever it runs, and threads leave their readers") {
  const TempDir dir;
  static std::atomic<int> marked{0};
  struct LateMark {
    Scope scope;
    std::string id;
  };
  const auto mark_late = [](void* data) {
    const auto* late = static_cast<LateMark*>(data);
    if (late->scope.mark(late->id) == Verdict::fresh) ++marked;
    delete late;
  };
  marked = 0;
  pthread_key_t before{};
  pthread_key_t after{};
  REQUIRE(pthread_key_create(&before, mark_late) == 0);
  {
    // So few reader slots that they must be used again.
    const Store store = Store::open(dir / "store", {.max_readers = 8});
    const Scope scope = store.scope("s");
    REQUIRE(pthread_key_create(&after, mark_late) == 0);
    for (int i = 0; i < 20; ++i) {
      std::thread([&] {
        scope.contains("x");
        pthread_setspecific(before, new LateMark{scope, "before " + std::to_string(i)});
        pthread_setspecific(after, new LateMark{scope, "after " + std::to_string(i)});
      }).join();
    }
    CHECK(marked == 40);
  }
  pthread_key_delete(before);
  pthread_key_delete(after);
}
