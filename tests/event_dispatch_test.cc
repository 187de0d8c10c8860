#include "background/event_dispatch.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// Something that happens once, and can be waited for.
class Signal {
 public:
  void set() {
    const std::lock_guard guard(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

/// Options whose hook is called for a clock fault.
Options hooked(std::function<void()> hook) {
  Options options{.flush_interval = 1ms};
  options.on_event = [hook = std::move(hook)](const StoreEvent& event) {
    if (event.kind == StoreEventKind::clock_fault) hook();
  };
  return options;
}

}  // namespace

TEST_CASE("events are delivered in order on another thread, and all of them before it is closed") {
  std::vector<std::string> told;
  EventDispatch dispatch([&, main = std::this_thread::get_id()](const StoreEvent& event) {
    CHECK(std::this_thread::get_id() != main);
    told.push_back(event.sentence);
  });
  for (const char* sentence : {"a", "b", "c"}) dispatch.raise(StoreEventKind::clock_fault, sentence);
  dispatch.close();
  CHECK(told == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE("events that a slow hook does not come to are dropped by their kind, and the next sentence counts them") {
  Signal begun;
  Signal go_on;
  std::vector<StoreEvent> told;
  EventDispatch dispatch([&](const StoreEvent& event) {
    begun.set();
    go_on.wait();
    told.push_back(event);
  });
  dispatch.raise(StoreEventKind::clock_fault, "the first");
  begun.wait();
  dispatch.raise(StoreEventKind::flush_failed, "failed");
  const std::size_t capacity = EventDispatch::kCapacity;
  for (std::size_t i = 0; i < capacity + 9; ++i) {
    dispatch.raise(StoreEventKind::bucket_dropped_early, std::to_string(i));
  }
  go_on.set();
  dispatch.close();
  REQUIRE(told.size() == capacity + 1);
  CHECK(told[0].sentence == "the first");
  CHECK(told[1].kind == StoreEventKind::flush_failed);
  CHECK(told[1].sentence.find("failed (the hook is too slow: 10 events") == 0);
  CHECK(told[2].sentence == "10");
  CHECK(told.back().sentence == std::to_string(capacity + 8));
}

TEST_CASE("a hook that does not return keeps no mark from the disk") {
  const TempDir dir;
  FakeHost host;
  Signal begun;
  Signal go_on;
  const Store store = StoreAccess::open(dir / "store", hooked([&] {
                                          begun.set();
                                          go_on.wait();
                                        }),
                                        host);
  const Scope scope = store.scope("s");
  host.step_wall(1h);
  begun.wait();
  const Marked marked = scope.mark("a");
  wait_until([&] { return store.durable() > marked.lsn; });  // By the store's background alone.
  go_on.set();
}

TEST_CASE("a hook may open its store by its path and close it, as the last handle too") {
  const TempDir dir;
  FakeHost host;
  Signal opened;
  Signal go_on;
  Signal closed;
  Options options = hooked([&] {
    {
      const Store store = StoreAccess::open(dir / "store", {}, host);
      opened.set();
      go_on.wait();
      store.scope("s").mark("by the hook");
    }
    closed.set();
  });
  std::optional<Store> store = StoreAccess::open(dir / "store", options, host);
  host.step_wall(1h);
  opened.wait();
  store.reset();  // Not the last: the hook's is.
  go_on.set();
  closed.wait();
  // All is closed, or the options would be refused.
  store = StoreAccess::open(dir / "store", {.max_bytes = std::uint64_t{1} << 20}, host);
  CHECK(store->scope("s").contains("by the hook"));
}

TEST_CASE("a hook may open its store while the last handle is being destroyed") {
  const TempDir dir;
  FakeHost host;
  Signal begun;
  std::atomic<bool> done{false};
  Options options = hooked([&] {
    begun.set();
    // Until main's is closed, there is one store of the two; after that another.
    wait_until([&] {
      try {
        StoreAccess::open(dir / "store", {.max_bytes = std::uint64_t{1} << 20}, host).scope("s").mark("by the hook");
        return true;
      } catch (const Error&) {
        return false;
      }
    });
    done.store(true);
  });
  {
    const Store store = StoreAccess::open(dir / "store", options, host);
    host.step_wall(1h);
    begun.wait();
  }
  // The destructor has waited for the hook, unless that was being refused the store just then: such an attempt holds a
  // handle for a moment, and closes the store itself when it is the last.
  wait_until([&] { return done.load(); });
  CHECK(StoreAccess::open(dir / "store", {}, host).scope("s").contains("by the hook"));
}
