#include "background/event_watch.h"

#include <signal.h>

#include <algorithm>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "shared/shared_state.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// What a store's hook was told.
class Told {
 public:
  StoreEventHook hook() {
    return [this](const StoreEvent& event) {
      const std::lock_guard guard(mutex_);
      events_.push_back(event);
    };
  }

  std::vector<StoreEvent> all() const {
    const std::lock_guard guard(mutex_);
    return events_;
  }
  std::size_t count(StoreEventKind kind) const {
    return static_cast<std::size_t>(std::ranges::count(all(), kind, &StoreEvent::kind));
  }

 private:
  mutable std::mutex mutex_;
  std::vector<StoreEvent> events_;
};

/// Options with a hook, whose flusher looks often.
Options watched(StoreEventHook hook) {
  Options options{.retention = 1h, .expected_ids = 1, .flush_interval = 1ms};
  options.on_event = std::move(hook);
  return options;
}

/// Waits until the flusher's thread has gone through two rounds since: what was to be told of before is told.
void wait_a_round(const Store& store, const Scope& scope) {
  static std::atomic<int> number{0};
  for (int i = 0; i < 2; ++i) {
    const std::uint64_t before = store.metrics().flushes;
    scope.mark("for a round " + std::to_string(number.fetch_add(1)));
    wait_until([&] { return store.metrics().flushes > before; });
  }
}

}  // namespace

TEST_CASE("a wall clock that runs ahead is told once for each fault, whether it begins before or after the opening") {
  const TempDir dir;
  FakeHost host;
  Told told;
  const Store store = StoreAccess::open(dir / "store", watched(told.hook()), host);
  const Scope scope = store.scope("s");
  host.step_wall(900ms);
  wait_a_round(store, scope);
  CHECK(told.all().empty());  // No more than noise.
  host.step_wall(10min);
  wait_until([&] { return told.count(StoreEventKind::clock_fault) == 1; });
  wait_a_round(store, scope);
  host.step_wall(10min);
  wait_a_round(store, scope);
  CHECK(told.all().size() == 1);
  CHECK(told.all()[0].sentence.find("600 s ahead") != std::string::npos);
  host.step_wall(-20min);
  wait_a_round(store, scope);
  CHECK(told.all().size() == 1);
  host.step_wall(10min);
  wait_until([&] { return told.count(StoreEventKind::clock_fault) == 2; });
}

TEST_CASE("a flush that fails is told with its reason, and its recovery once there is room again") {
  const TempDir dir;
  FakeHost host;
  Told told;
  Options options = watched(told.hook());
  options.ring_bytes = std::uint64_t{64} << 10;
  options.map_bytes = std::uint64_t{1} << 20;
  const Store store = StoreAccess::open(dir / "store", options, host);
  const Scope scope = store.scope("s");
  ErrorCode code{};
  for (int i = 0; code == ErrorCode{}; ++i) {
    try {
      scope.mark(std::to_string(i) + std::string(900, 'x'));
    } catch (const Error& error) {
      code = error.code();
    }
  }
  REQUIRE(code == ErrorCode::full);
  wait_until([&] { return told.count(StoreEventKind::flush_failed) == 1; });
  CHECK(told.count(StoreEventKind::flush_recovered) == 0);
  const std::string reason = told.all().front().sentence;
  CAPTURE(reason);
  CHECK(reason.find(dir.path().string()) != std::string::npos);
  host.advance(2h);  // Everything expires.
  wait_until([&] { return told.count(StoreEventKind::flush_recovered) == 1; });
  CHECK(told.count(StoreEventKind::flush_failed) == 1);
  // What an earlier round of upkeep had to say stands until this one has ended.
  wait_until([&] { return store.metrics().last_error.empty(); });
}

TEST_CASE("a bucket that a size cap takes before its time is told, with the time from which on all is remembered") {
  const TempDir dir;
  FakeHost host;
  Told told;
  Options options = watched(told.hook());
  options.buckets = 4;
  options.max_bytes = std::uint64_t{1} << 20;
  const Store store = StoreAccess::open(dir / "store", options, host);
  const Scope scope = store.scope("s");
  for (int i = 0; store.metrics().early_drops == 0; ++i) {
    REQUIRE(i < 100'000);
    scope.mark(std::to_string(i) + std::string(900, 'x'));
    host.advance(500ms);
  }
  wait_until([&] { return told.count(StoreEventKind::bucket_dropped_early) != 0; });
  const std::string sentence = told.all().front().sentence;
  CAPTURE(sentence);
  CHECK(sentence.find("before 2027-01-15T") != std::string::npos);
  // More than one where a commit took several before the background looked.
  constexpr std::string_view kForget = "forget ";
  const std::size_t at = sentence.find(kForget);
  REQUIRE(at != std::string::npos);
  std::size_t digits = 0;
  const unsigned long long forgotten = std::stoull(sentence.substr(at + kForget.size()), &digits);
  CHECK(sentence.substr(at + kForget.size() + digits).starts_with(" of its time buckets"));
  CHECK(forgotten >= 1);
  CHECK(forgotten <= store.metrics().early_drops);
}

TEST_CASE("what a hook throws is told by the metrics until the hook returns again, and keeps nothing from being told") {
  const TempDir dir;
  FakeHost host;
  std::atomic<int> calls{0};
  const Store store = StoreAccess::open(dir / "store", watched([&](const StoreEvent&) {
                                          if (calls.fetch_add(1) == 0) throw std::runtime_error("no pager");
                                        }),
                                        host);
  const Scope scope = store.scope("s");
  host.step_wall(1h);
  wait_until([&] { return calls.load() == 1; });
  wait_until([&] { return !store.metrics().last_error.empty(); });
  wait_a_round(store, scope);
  CHECK(store.metrics().last_error.find("no pager") != std::string::npos);
  CHECK(store.metrics().last_error.find("clock_fault") != std::string::npos);
  host.step_wall(-1h);
  wait_a_round(store, scope);
  CHECK(calls.load() == 1);
  host.step_wall(1h);
  wait_until([&] { return calls.load() == 2; });
  wait_until([&] { return store.metrics().last_error.empty(); });
}

TEST_CASE("a hook may use the store") {
  const TempDir dir;
  FakeHost host;
  std::atomic<bool> marked{false};
  std::optional<Scope> scope;
  std::mutex mutex;
  const Store store = StoreAccess::open(dir / "store", watched([&](const StoreEvent& event) {
                                          const std::lock_guard guard(mutex);
                                          scope->mark(event.sentence, Ack::disk);
                                          marked.store(true);
                                        }),
                                        host);
  {
    const std::lock_guard guard(mutex);
    scope = store.scope("s");
  }
  host.step_wall(1h);
  wait_until([&] { return marked.load(); });
  CHECK(store.durable() == store.metrics().head);
  scope.reset();
}

TEST_CASE("shared memory that a killed process has left damaged is told to the one that opens the store, and counted") {
  const TempDir dir;
  const pid_t child = spawn([&] {
    const Store store = Store::open(dir / "store", {.retention = 1h, .expected_ids = 1, .flush_interval = 1h});
    store.scope("s").mark("in the ring");
    ::raise(SIGKILL);
    return 0;
  });
  REQUIRE(wait_for(child) == -SIGKILL);
  {
    std::fstream live(dir / "store" / "live", std::ios::in | std::ios::out | std::ios::binary);
    live.seekp(offsetof(internal::SharedHeader, ready));
    live.put('\x55');
    REQUIRE(live.flush());
  }
  Told told;
  {
    const Store store = Store::open(dir / "store", watched(told.hook()));
    CHECK(store.scope("s").mark("in the ring") == Verdict::duplicate);
    wait_until([&] { return told.count(StoreEventKind::memory_damaged) == 1; });
    CHECK(store.metrics().damages == 1);
  }
  const std::string sentence = told.all().front().sentence;
  CAPTURE(sentence);
  CHECK(sentence.find((dir / "store" / "live").string() + ": the store's shared memory was damaged") == 0);
  CHECK(sentence.find("all claims and locks are released") != std::string::npos);
  const Store store = Store::open(dir / "store", watched(told.hook()));
  CHECK(store.scope("s").mark("in the ring") == Verdict::duplicate);
  CHECK(told.count(StoreEventKind::memory_damaged) == 1);
}
