#include <atomic>
#include <string>
#include <thread>

#include "shared.h"
#include "shared/writer_gate.h"
#include "support.h"

// Transactions of one store within those of another.

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};

/// Shortens what a wait for another store's transaction may last.
class ShortPatience {
 public:
  ShortPatience() { internal::WriterGate::nested_patience.store(200ms); }
  ShortPatience(const ShortPatience&) = delete;
  ShortPatience& operator=(const ShortPatience&) = delete;
  ~ShortPatience() { internal::WriterGate::nested_patience.store(before_); }

 private:
  const std::chrono::milliseconds before_ = internal::WriterGate::nested_patience.load();
};

/// A transaction of `inner` within one of `outer`, each with an effect and a mark. The inner one begins once both of
/// two such calls are in their outer ones. Returns the sentence of the Error that came of it; empty when both
/// committed.
std::string nest(const Store& outer, const Store& inner, std::string_view id, std::atomic<int>& begun) {
  const auto effect = [&](Transaction& tx, const Scope& scope) {
    tx.mark(scope, id);
    tx.put("t", id, "done");
  };
  const Scope outer_scope = outer.scope("s");
  const Scope inner_scope = inner.scope("s");
  try {
    outer.transact([&](Transaction& tx) {
      effect(tx, outer_scope);
      begun.fetch_add(1);
      wait_until([&] { return begun.load() >= 2; });
      inner.transact([&](Transaction& within) { effect(within, inner_scope); });
    });
    return {};
  } catch (const Error& error) {
    if (error.code() != ErrorCode::in_use) throw;
    return error.what();
  }
}

/// That the id is marked, and its effect there, in both or in neither.
void check_outcome(const Store& a, const Store& b, std::string_view id, bool done) {
  for (const Store* store : {&a, &b}) {
    CHECK(store->scope("s").contains(id) == done);
    CHECK(store->get("t", id).has_value() == done);
    CHECK(store->claims().empty());
  }
}

}  // namespace

TEST_CASE("transactions of two stores may be within each other") {
  const TempDir dir;
  const Store outer = Store::open(dir / "outer", kOptions);
  const Store inner = Store::open(dir / "inner", kOptions);
  const Scope outer_scope = outer.scope("orders");
  const Scope inner_scope = inner.scope("orders");
  outer.transact([&](Transaction& first) {
    inner.transact([&](Transaction& second) {
      CHECK(second.mark(inner_scope, "id") == Verdict::fresh);
      CHECK(first.mark(outer_scope, "id") == Verdict::fresh);
      CHECK(error_code_of([&] { outer.sync(); }) == ErrorCode::invalid_argument);
      CHECK(error_code_of([&] { inner.sync(); }) == ErrorCode::invalid_argument);
    });
    CHECK_NOTHROW(inner.sync());
    CHECK(inner_scope.contains("id"));
    CHECK_FALSE(outer_scope.contains("id"));
  });
  CHECK(outer_scope.contains("id"));
}

TEST_CASE("transactions of two stores within each other in opposite order end, in an error that leaves nothing") {
  const TempDir dir;
  const ShortPatience short_patience;
  const Store a = Store::open(dir / "a", kOptions);
  const Store b = Store::open(dir / "b", kOptions);
  for (const Store* store : {&a, &b}) store->scope("s");
  std::string texts[2];
  std::atomic<int> begun{0};
  std::thread other([&] { texts[1] = nest(b, a, "1", begun); });
  texts[0] = nest(a, b, "0", begun);
  other.join();
  CHECK_FALSE((texts[0].empty() && texts[1].empty()));
  for (int i = 0; i < 2; ++i) {
    CAPTURE(i);
    check_outcome(a, b, std::to_string(i), texts[i].empty());
    if (texts[i].empty()) continue;
    // Which stores, and the way out.
    CHECK(texts[i].find((dir / "a").string()) != std::string::npos);
    CHECK(texts[i].find((dir / "b").string()) != std::string::npos);
    CHECK(texts[i].find("same order") != std::string::npos);
  }
  // Nothing of it stands in anybody's way.
  begun.store(2);
  CHECK(nest(a, b, "again", begun).empty());
  CHECK(nest(b, a, "and the other way", begun).empty());
  check_outcome(a, b, "again", true);
}

TEST_CASE("so do those of two processes") {
  const TempDir dir;
  const ShortPatience short_patience;
  for (const char* name : {"a", "b"}) Store::open(dir / name, kOptions).scope("s");
  Shared<std::atomic<int>> begun;
  const pid_t other = spawn([&] {
    const Store a = Store::open(dir / "a", kOptions);
    const Store b = Store::open(dir / "b", kOptions);
    return nest(b, a, "1", *begun).empty() ? 0 : 1;
  });
  const Store a = Store::open(dir / "a", kOptions);
  const Store b = Store::open(dir / "b", kOptions);
  const bool done = nest(a, b, "0", *begun).empty();
  const int code = wait_for(other);
  REQUIRE((code == 0 || code == 1));
  CHECK_FALSE((done && code == 0));
  check_outcome(a, b, "0", done);
  check_outcome(a, b, "1", code == 0);
}

TEST_CASE("a call within a transaction that needs another store's disk does not wait for ever for that one's") {
  const TempDir dir;
  const ShortPatience short_patience;
  const Store a = Store::open(dir / "a", kOptions);
  const Store b = Store::open(dir / "b", kOptions);
  const Scope scope = b.scope("s");
  scope.mark("before");
  std::atomic<bool> held{false};
  std::atomic<bool> go_on{false};
  std::thread other([&] {
    b.transact([&](Transaction&) {
      held.store(true);
      wait_until([&] { return go_on.load(); });
    });
  });
  wait_until([&] { return held.load(); });
  a.transact([&](Transaction& tx) {
    CHECK(error_code_of([&] { scope.mark("a", Ack::disk); }) == ErrorCode::in_use);
    CHECK(error_code_of([&] { b.sync(); }) == ErrorCode::in_use);
    CHECK(error_code_of([&] { b.scope("new"); }) == ErrorCode::in_use);
    CHECK(error_code_of([&] { b.transact([](Transaction&) {}); }) == ErrorCode::in_use);
    tx.put("t", "k", "v");
  });
  CHECK(a.get("t", "k") == "v");  // What was caught within it is no concern of this one.
  go_on.store(true);
  other.join();
  b.sync();
  CHECK(b.metrics().last_error.empty());  // No flush has failed.
}
