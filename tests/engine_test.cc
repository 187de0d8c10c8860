#include <oncelog/testing.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include ONCELOG_TEST_ENGINES
#include "any_engine.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h};

std::vector<std::string> ids_of(const std::vector<Record>& records) {
  std::vector<std::string> ids;
  for (const Record& record : records) ids.push_back(record.id);
  return ids;
}

}  // namespace

ENGINE_TEST_CASE("an id is fresh once, and again when its retention has passed", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const Marked first = scope.mark("a");
  CHECK(first == Verdict::fresh);
  CHECK(scope.mark("a") == Marked{Verdict::duplicate, first.lsn});
  CHECK(scope.contains("a"));
  CHECK_FALSE(store.scope("other").contains("a"));
  engine->advance(1h - 1us);
  CHECK(scope.mark("a") == Verdict::duplicate);
  engine->advance(1us);
  CHECK_FALSE(scope.contains("a"));
  CHECK(scope.mark("a") == Verdict::fresh);
}

ENGINE_TEST_CASE("a batch is decided in order, ids twice in it included", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  scope.mark("b");
  const std::array<std::string_view, 4> ids{"a", "b", "a", "c"};
  std::array<Marked, 4> out;
  scope.mark(ids, out);
  CHECK(out[0] == Verdict::fresh);
  CHECK(out[1] == Verdict::duplicate);
  CHECK(out[2] == Marked{Verdict::duplicate, out[0].lsn});
  CHECK(out[3] == Verdict::fresh);
  const std::array<std::string_view, 3> asked{"a", "x", "c"};
  std::array<bool, 3> known{};
  scope.contains(asked, known);
  CHECK(known == std::array{true, false, true});
  std::array<std::optional<Record>, 3> found;
  scope.find(asked, found);
  CHECK(found[0]->lsn == out[0].lsn);
  CHECK_FALSE(found[1]);
  CHECK(found[2]->id == "c");
}

ENGINE_TEST_CASE("a duplicate with another fingerprint is a conflict, one from the same source a redelivery",
                 ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const Attributes given{.fingerprint = 7, .source = {"topic", 1, 42}};
  CHECK(scope.mark("a", given) == Verdict::fresh);
  const Marked again = scope.mark("a", given);
  CHECK(again == Verdict::duplicate);
  CHECK(again.redelivered);
  CHECK(scope.mark("a", {.fingerprint = 8}) == Verdict::conflict);
  CHECK(scope.mark("a", {.fingerprint = 7, .source = {"topic", 1, 43}}) == Verdict::duplicate);
  CHECK_FALSE(scope.mark("a", {.fingerprint = 7, .source = {"topic", 1, 43}}).redelivered);
  const Claim claim = scope.begin("a", 1min, {.fingerprint = 8});
  CHECK(claim == Verdict::conflict);
  CHECK(claim.record()->fingerprint == 7);
  const std::array<std::string_view, 2> ids{"a", "a"};
  const std::array<Attributes, 2> both{Attributes{.fingerprint = 8}, given};
  std::array<Marked, 2> out;
  scope.mark(ids, both, out, Ack::host);
  CHECK(out[0] == Verdict::conflict);
  CHECK(out[1] == Verdict::duplicate);
  CHECK(out[1].redelivered);
}

ENGINE_TEST_CASE("a record holds what was given with the mark", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const std::string large(100'000, 'r');
  const Marked marked = scope.mark(
      "a", {.correlation = "job", .fingerprint = 7, .result = large, .source = {"topic", 3, std::uint64_t{1} << 40}});
  const auto record = scope.find("a");
  REQUIRE(record);
  CHECK(record->scope == "orders");
  CHECK(record->id == "a");
  CHECK(record->lsn == marked.lsn);
  CHECK(record->processed_at == engine->now());
  CHECK(record->correlation == "job");
  CHECK(record->fingerprint == 7);
  CHECK(record->result == large);
  CHECK(record->source == Source{"topic", 3, std::uint64_t{1} << 40});
  CHECK_FALSE(record->forgotten);
  store.sync();
  CHECK(scope.find("a")->result == large);
  CHECK(scope.contains("a", "job"));
  CHECK_FALSE(scope.contains("a", "other"));
  const Claim claim = scope.begin("a", 1min);
  CHECK(claim == Verdict::duplicate);
  CHECK(claim.record()->result == large);
}

ENGINE_TEST_CASE("a correlation lists its live records in order", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  for (const std::string_view id : {"a", "b", "c"}) {
    scope.mark(id, {.correlation = "job"});
    engine->advance(1ms);  // In a cluster the servers' clocks give the order.
  }
  scope.mark("d", {.correlation = "other"});
  CHECK(ids_of(store.correlated("job")) == std::vector<std::string>{"a", "b", "c"});
  scope.forget("b");
  CHECK(ids_of(store.correlated("job")) == std::vector<std::string>{"a", "c"});
  engine->advance(1h);
  CHECK(store.correlated("job").empty());
}

ENGINE_TEST_CASE("a message sent before all that is remembered is too old", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  CHECK(store.known_since() == engine->now() - 1h + 1us);
  CHECK(scope.mark("a", {.sent_at = engine->now() - 1h}) == Verdict::too_old);
  CHECK_FALSE(scope.contains("a"));
  CHECK(scope.begin("a", 1min, {.sent_at = engine->now() - 1h}) == Verdict::too_old);
  CHECK(scope.mark("a", {.sent_at = engine->now() - 59min}) == Verdict::fresh);
  CHECK(scope.mark("a", {.sent_at = engine->now() - 2h}) == Verdict::duplicate);
}

ENGINE_TEST_CASE("a forgotten id is fresh again", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  CHECK_FALSE(scope.forget("a"));
  scope.mark("a");
  CHECK(scope.forget("a"));
  CHECK_FALSE(scope.forget("a"));
  CHECK_FALSE(scope.contains("a"));
  CHECK(scope.mark("a") == Verdict::fresh);
}

ENGINE_TEST_CASE("an imported record keeps all that it says, and its id is a duplicate until its own retention ends",
                 ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope orders = store.scope("orders");
  const Record plain{"orders", "plain", engine->now() - 59min, {}};
  const Record whole{"mails", "whole", engine->now() - 30min, {}, "business", 42, "the result", {"queue", 3, 17}};
  CHECK(store.import(std::array{plain, whole}) == Imported{.imported = 2});
  for (const Record& given : {plain, whole}) {
    const auto record = store.scope(given.scope).find(given.id);
    REQUIRE(record);
    CHECK(record->processed_at == given.processed_at);
    CHECK(record->lsn.value != 0);
    CHECK(record->correlation == given.correlation);
    CHECK(record->fingerprint == given.fingerprint);
    CHECK(record->result == given.result);
    CHECK(record->source == given.source);
  }
  CHECK(store.scope("mails").mark("whole", {.fingerprint = 43}) == Verdict::conflict);
  CHECK(store.scope("mails").mark("whole", {.source = {"queue", 3, 17}}).redelivered);
  CHECK(orders.mark("own", {.correlation = "business"}) == Verdict::fresh);
  CHECK(ids_of(store.correlated("business")) == std::vector<std::string>{"whole", "own"});
  engine->advance(1min - 1us);
  CHECK(orders.mark("plain") == Verdict::duplicate);
  engine->advance(1us);
  CHECK_FALSE(orders.contains("plain"));
  CHECK_FALSE(orders.find("plain"));
  std::vector<std::string> scanned;
  store.scan({}, [&](const Record& record) { return scanned.push_back(record.id), true; });
  std::ranges::sort(scanned);
  CHECK(scanned == std::vector<std::string>{"own", "whole"});
  CHECK(orders.mark("plain") == Verdict::fresh);
  engine->advance(29min);
  CHECK(ids_of(store.correlated("business")) == std::vector<std::string>{"own"});
}

ENGINE_TEST_CASE("an import leaves what is known or claimed, and what is past its retention; the future is the present",
                 ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const Marked marked = scope.mark("marked");
  Claim claim = scope.begin("claimed", 1min);
  REQUIRE(claim);
  const auto of = [&](const char* id, std::chrono::microseconds age) {
    return Record{"orders", id, engine->now() - age, {}};
  };
  const std::array records{of("marked", 10min),  of("claimed", 10min), of("past", 1h),    of("last", 59min),
                           of("coming", -10min), of("twice", 20min),   of("twice", 10min)};
  CHECK(store.import(records) == Imported{.imported = 3, .known = 2, .claimed = 1, .expired = 1, .redated = 1});
  CHECK(scope.mark("marked").lsn == marked.lsn);
  CHECK(scope.find("marked")->processed_at > engine->now() - 1min);
  CHECK_FALSE(scope.contains("claimed"));
  CHECK_FALSE(scope.contains("past"));
  CHECK(scope.contains("last"));
  CHECK(scope.find("coming")->processed_at <= engine->now());
  CHECK(scope.find("twice")->processed_at == engine->now() - 20min);
  CHECK(store.import(records) == Imported{.known = 5, .claimed = 1, .expired = 1});
  CHECK(claim.complete());
  CHECK(store.import(records) == Imported{.known = 6, .expired = 1});
  Record note = of("note", 0us);
  note.forgotten = true;
  CHECK(error_code_of([&] { store.import(std::array{of("before", 0us), note}); }) == ErrorCode::invalid_argument);
  CHECK_FALSE(scope.contains("before"));
  CHECK(scope.forget("last"));
  CHECK(store.import(std::array{of("last", 5min)}) == Imported{.imported = 1});
}

ENGINE_TEST_CASE("a claim keeps others out until it is completed or abandoned", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  Claim claim = scope.begin("a", 1min, {.correlation = "job"});
  REQUIRE(claim);
  const Claim other = scope.begin("a", 1min);
  CHECK(other == Verdict::in_progress);
  CHECK(other.owner()->deadline == engine->now() + 1min);
  CHECK(scope.mark("a") == Verdict::in_progress);
  CHECK_FALSE(scope.contains("a"));
  CHECK_FALSE(scope.wait_until_free("a", 0ms));
  claim.abandon();
  CHECK(scope.wait_until_free("a", 0ms));
  Claim second = scope.begin("a", 1min, {.correlation = "job"});
  REQUIRE(second);
  CHECK(second.token() > claim.token());
  const Completed completed = second.complete({.result = "done"});
  CHECK(completed.in_time);
  CHECK(scope.find("a")->correlation == "job");
  CHECK(scope.find("a")->result == "done");
  CHECK(scope.find("a")->lsn == completed.lsn);
  CHECK(scope.begin("a", 1min) == Verdict::duplicate);
}

ENGINE_TEST_CASE("a lease that expires frees the id by its orphan policy, and a late completion is told so",
                 ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const Scope keeping = store.scope("orders", {.orphans = OrphanPolicy::keep});
  Claim late = scope.begin("a", 1min);
  Claim kept = keeping.begin("b", 1min);
  Claim alone = scope.begin("c", 1min);
  Claim renewed = scope.begin("d", 1min);
  engine->advance(59s);
  CHECK(renewed.renew(1min));
  engine->advance(1s);
  Claim next = scope.begin("a", 1min);
  CHECK(next);
  CHECK_FALSE(late.complete());
  CHECK_FALSE(late.renew(1min));
  CHECK(scope.begin("b", 1min) == Verdict::in_progress);
  CHECK(scope.begin("d", 1min) == Verdict::in_progress);
  CHECK(alone.complete());  // Nobody has taken the id.
  CHECK(scope.contains("c"));
  CHECK(next.complete());
  CHECK(scope.release("b"));
  CHECK_FALSE(scope.release("b"));
  CHECK_FALSE(kept.complete());
}

ENGINE_TEST_CASE("a batch of claims is held, cut and completed together", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  scope.mark("b");
  const std::array<std::string_view, 5> ids{"a", "b", "c", "a", "d"};
  ClaimBatch batch = scope.begin(ids, 1min);
  using enum Verdict;
  CHECK(std::vector(batch.verdicts().begin(), batch.verdicts().end()) ==
        std::vector{fresh, duplicate, fresh, duplicate, fresh});
  CHECK(scope.begin("d", 1min) == in_progress);
  batch.abandon_from(4);
  CHECK(scope.begin("d", 1min) == fresh);
  std::size_t late = 9;
  const Lsn newest = batch.complete(&late);
  CHECK(late == 0);
  CHECK(newest == scope.find("c")->lsn);
  CHECK(scope.contains("a"));
  CHECK(scope.contains("c"));
  CHECK_FALSE(scope.contains("d"));
}

ENGINE_TEST_CASE("a claim is waited for, and taken when its holder gives it up", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  Claim claim = scope.begin("a", 1min);
  std::atomic<bool> began{false};
  std::thread waiter([&] {
    began = true;
    CHECK(scope.begin("a", 1min, {}, 1h));
  });
  wait_until([&] { return began.load(); });
  claim.abandon();
  waiter.join();
}

ENGINE_TEST_CASE("another payload under an id in progress is a conflict at once", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open({.retention = 1h});
  const Scope scope = store.scope("orders");
  const Attributes seven{.fingerprint = 7};
  const Attributes eight{.fingerprint = 8};
  Claim claim = scope.begin("a", 1min, seven);
  REQUIRE(claim);
  const Claim other = scope.begin("a", 1min, eight, 1h);  // It does not wait.
  CHECK(other == Verdict::conflict);
  CHECK_FALSE(other.record());
  CHECK(other.owner());
  CHECK(scope.begin("a", 1min, seven) == Verdict::in_progress);
  CHECK(scope.begin("a", 1min) == Verdict::in_progress);
  CHECK(scope.mark("a", eight) == Verdict::conflict);
  CHECK(scope.mark("a", seven) == Verdict::in_progress);
  const OnceResult once = scope.once("a", {.patience = 1h, .attributes = eight}, [] { return std::string(); });
  CHECK(once.verdict == Verdict::conflict);
  CHECK_FALSE(once.ran);
  REQUIRE(claim.complete());
  const Claim late = scope.begin("a", 1min, eight);
  CHECK(late == Verdict::conflict);
  CHECK(late.record());
  Claim plain = scope.begin("b", 1min);
  CHECK(scope.begin("b", 1min, eight) == Verdict::in_progress);  // Its payload is not known.
  plain.abandon();
  Claim again = scope.begin("b", 10ms, seven);
  engine->advance(1s);
  CHECK(scope.begin("b", 1min, eight) == Verdict::fresh);  // The lease of the other payload is over.
}

ENGINE_TEST_CASE("a claim that is kept alive outlasts its lease, and ends with the time that it was given",
                 ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open({.retention = 1h});
  const Scope scope = store.scope("orders");
  const auto deadline = [&] { return store.claims().at(0).owner.deadline; };
  Claim claim = scope.begin("a", 300ms);
  REQUIRE(claim);
  const Time first = deadline();
  CHECK(claim.keep_alive(10min));
  engine->advance(200ms);
  while (deadline() <= first) spin();  // Renewed: it ends a whole lease after a later time.
  CHECK(scope.begin("a", 1s) == Verdict::in_progress);
  CHECK(claim.complete().in_time);

  Claim short_one = scope.begin("b", 300ms);
  CHECK(short_one.keep_alive(30ms));
  while (deadline() >= first + 200ms + 300ms) spin();  // Its lease was shortened to what is left.
  // Renewals go by the machine's clock: one may still come after the engine's has been moved, but none after 30 ms.
  const auto free_at_last = [&] {
    for (;;) {
      engine->advance(1s);
      if (Claim free = scope.begin("b", 10s)) return free;
    }
  };
  Claim other = free_at_last();
  CHECK_FALSE(short_one.keep_alive(1min));
  CHECK_FALSE(short_one.complete().in_time);
  CHECK(error_code_of([&] { other.keep_alive(0ms); }) == ErrorCode::invalid_argument);
  other.abandon();
  CHECK_FALSE(other.keep_alive(1s));
}

ENGINE_TEST_CASE("work runs once, and every later caller gets its result", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  int runs = 0;
  const auto work = [&] { return "result " + std::to_string(++runs); };
  const OnceOptions given{.attributes = {.correlation = "job", .fingerprint = 7}};
  const OnceResult first = scope.once("a", given, work);
  CHECK(first.verdict == Verdict::fresh);
  CHECK(first.ran);
  CHECK(first.result == "result 1");
  CHECK(scope.find("a")->correlation == "job");
  CHECK(scope.find("a")->lsn == first.lsn);
  const OnceResult again = scope.once("a", given, work);
  CHECK(again.verdict == Verdict::duplicate);
  CHECK_FALSE(again.ran);
  CHECK(again.result == "result 1");
  CHECK(again.lsn == first.lsn);
  const OnceResult other = scope.once("a", {.attributes = {.fingerprint = 8}}, work);
  CHECK(other.verdict == Verdict::conflict);
  CHECK(other.result.empty());
  CHECK(runs == 1);
  engine->advance(1h);
  CHECK(scope.once("a", given, work).result == "result 2");
}

ENGINE_TEST_CASE("work that fails frees its id, and what it throws goes on to the caller", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  CHECK_THROWS_WITH_AS(scope.once("a", {}, []() -> std::string { throw std::runtime_error("no paper"); }), "no paper",
                       std::runtime_error);
  CHECK(store.claims().empty());
  const auto too_large = [] { return std::string(kMaxResultBytes + 1, 'r'); };
  CHECK(error_code_of([&] { scope.once("a", {}, too_large); }) == ErrorCode::invalid_argument);
  CHECK(store.claims().empty());
  CHECK(error_code_of([&] { scope.once("a", {.attributes = {.result = "r"}}, too_large); }) ==
        ErrorCode::invalid_argument);
  CHECK(scope.once("a", {}, [] { return std::string("done"); }).result == "done");
}

ENGINE_TEST_CASE("work for an id within its own work is refused, for another id it is not", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const auto leaf = [] { return std::string("leaf"); };
  const OnceResult outer = scope.once("a", {}, [&] {
    CHECK(error_code_of([&] { scope.once("a", {.patience = 1h}, leaf); }) == ErrorCode::invalid_argument);
    CHECK(store.scope("mails").once("a", {}, leaf).ran);
    return scope
        .once("b", {},
              [&] {
                CHECK(error_code_of([&] { scope.once("a", {.patience = 1h}, leaf); }) == ErrorCode::invalid_argument);
                return leaf();
              })
        .result;
  });
  CHECK(outer.ran);
  CHECK(outer.result == "leaf");
  CHECK(scope.once("a", {}, leaf).verdict == Verdict::duplicate);
}

ENGINE_TEST_CASE("work that is kept alive holds its id no longer than it may run", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const OnceResult long_lease = scope.once("a", {.lease = 1h, .max_runtime = 5min}, [&] {
    CHECK(store.claims().at(0).owner.deadline <= engine->now() + 5min);
    return std::string();
  });
  CHECK(long_lease.ran);
}

ENGINE_TEST_CASE("who comes during the work waits for its result, or runs in place of one that fails",
                 ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  for (const bool fails : {false, true}) {
    const std::string id = fails ? "failing" : "a";
    std::thread waiter;
    OnceResult waited;
    std::atomic<bool> began{false};
    const auto run = [&]() -> std::string {
      CHECK(scope.begin(id, 1min) == Verdict::in_progress);
      waiter = std::thread([&] {
        CHECK(scope.once(id, {.patience = 0ms}, [] { return std::string(); }).verdict == Verdict::in_progress);
        began = true;
        waited = scope.once(id, {.patience = 1h}, [] { return std::string("second"); });
      });
      wait_until([&] { return began.load(); });
      if (fails) throw std::runtime_error("no paper");
      return "first";
    };
    if (fails) {
      CHECK_THROWS_AS(scope.once(id, {}, run), std::runtime_error);
    } else {
      CHECK(scope.once(id, {}, run).ran);
    }
    waiter.join();
    CHECK(waited.ran == fails);
    CHECK(waited.result == (fails ? "second" : "first"));
  }
}

ENGINE_TEST_CASE("work that outlasts its lease learns what stands for the id instead", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const OnceResult late = scope.once("a", {.lease = 1min}, [&] {
    engine->advance(1min);
    Claim next = scope.begin("a", 1min);
    CHECK(next.complete({.result = "next"}));
    return std::string("late");
  });
  CHECK(late.verdict == Verdict::duplicate);
  CHECK(late.ran);
  CHECK(late.result == "next");
  std::optional<Claim> next;
  const OnceResult open = scope.once("b", {.lease = 1min}, [&] {
    engine->advance(1min);
    next = scope.begin("b", 1min);
    return std::string("late");
  });
  CHECK(open.verdict == Verdict::in_progress);
  CHECK(open.ran);
  CHECK(open.result.empty());
  CHECK(scope
            .once("c", {.lease = 1min},
                  [&] {
                    engine->advance(1min);  // Nobody has taken the id.
                    return std::string("late");
                  })
            .verdict == Verdict::fresh);
}

ENGINE_TEST_CASE("a lock is held by one, and its token grows", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  Lock lock = store.lock("leader", 1min);
  REQUIRE(lock);
  const Lock other = store.lock("leader", 1min);
  CHECK_FALSE(other);
  CHECK(other.owner()->deadline == engine->now() + 1min);
  CHECK(store.claims().size() == 1);
  CHECK(store.claims()[0].scope.empty());
  CHECK(store.claims()[0].id == "leader");
  const std::uint64_t token = lock.token();
  lock.release();
  Lock next = store.lock("leader", 1min);
  CHECK(next.token() > token);
  CHECK(store.scope("orders").mark("leader") == Verdict::fresh);  // Names are no ids.
  engine->advance(1min);
  CHECK(store.lock("leader", 1min));
}

ENGINE_TEST_CASE("every decision is counted and reported once, with the time of a duplicate's first processing",
                 ONCELOG_ENGINES) {
  struct Seen {
    Verdict verdict;
    std::string scope;
    std::string id;
    std::string correlation;
    std::optional<Time> first_seen;
  };
  std::vector<Seen> seen;
  Options options = kOptions;
  options.on_decision = [&](const Decision& decision) {
    seen.push_back({decision.verdict, std::string(decision.scope), std::string(decision.id),
                    std::string(decision.correlation), decision.first_seen});
  };
  const auto engine = make();
  const Store store = engine->open(options);
  const Scope scope = store.scope("orders");
  const Time first = engine->now();
  scope.mark("a", {.correlation = "job", .fingerprint = 1});
  engine->advance(1min);
  scope.mark("a", {.fingerprint = 2});
  const std::array<std::string_view, 2> ids{"a", "b"};
  { const ClaimBatch batch = scope.begin(ids, 1min); }
  {
    const Claim claim = scope.begin("b", 1min);
    scope.begin("b", 1min);
  }
#ifdef ONCELOG_NO_TRANSACTIONS
  scope.mark("a");
#else
  store.transact([&](Transaction& transaction) { transaction.mark(scope, "a"); });
#endif
  scope.mark("c", {.sent_at = engine->now() - 2h});
  scope.contains("a");
  using enum Verdict;
  const std::vector<Verdict> wanted{fresh, conflict, duplicate, fresh, fresh, in_progress, duplicate, too_old};
  REQUIRE(seen.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK(seen[i].verdict == wanted[i]);
    CHECK(seen[i].scope == "orders");
    const bool before = wanted[i] == duplicate || wanted[i] == conflict;
    CHECK(seen[i].first_seen == (before ? std::optional(first) : std::nullopt));
  }
  CHECK(seen[0].correlation == "job");
  CHECK(seen[3].id == "b");
  const Metrics metrics = store.metrics();
  REQUIRE(metrics.scopes.size() == 1);
  const IdCounts& counts = metrics.scopes[0].process;
  CHECK(counts.fresh == 3);
  CHECK(counts.duplicate == 2);
  CHECK(counts.conflict == 1);
  CHECK(counts.in_progress == 1);
  CHECK(counts.too_old == 1);
  CHECK(counts.abandoned == 2);
  CHECK(counts.known == 1);
  CHECK(metrics.marks_fresh == 3);
  CHECK(metrics.marks_not_fresh == 5);
  CHECK(metrics.checks_known == 1);
}

ENGINE_TEST_CASE("what the hook throws reaches the caller, and gives up what was claimed", ONCELOG_ENGINES) {
  bool throwing = true;
  Options options = kOptions;
  options.on_decision = [&](const Decision&) {
    if (throwing) throw std::runtime_error("no");
  };
  const auto engine = make();
  const Store store = engine->open(options);
  const Scope scope = store.scope("orders");
  CHECK_THROWS_AS(scope.mark("a"), std::runtime_error);
  CHECK_THROWS_AS(scope.begin("b", 1min), std::runtime_error);
  const std::array<std::string_view, 2> ids{"c", "d"};
  CHECK_THROWS_AS(scope.begin(ids, 1min), std::runtime_error);
  throwing = false;
  CHECK(scope.contains("a"));
  CHECK(store.claims().empty());
  CHECK(scope.mark("b") == Verdict::fresh);
}

ENGINE_TEST_CASE("the hook may destroy the store's last handle", ONCELOG_ENGINES) {
  std::optional<Scope> scope;
  int calls = 0;
  Options options = kOptions;
  options.on_decision = [&](const Decision& decision) {
    scope.reset();
    ++calls;
    CHECK(decision.scope == "orders");
  };
  const auto engine = make();
  {
    std::optional<Store> store = engine->open(options);
    scope = store->scope("orders");
  }
  const std::array<std::string_view, 3> ids{"a", "b", "c"};
  std::array<Marked, 3> out;
  scope->mark(ids, out);
  CHECK(calls == 3);
  CHECK(out[2] == Verdict::fresh);
}

ENGINE_TEST_CASE("arguments out of their limits are refused, and nothing of the call is done", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const std::string long_id(kMaxIdBytes + 1, 'x');
  const auto refused = [](const std::function<void()>& call) {
    return error_code_of(call) == ErrorCode::invalid_argument;
  };
  CHECK(refused([&] { store.scope(""); }));
  CHECK(refused([&] { scope.mark(""); }));
  CHECK(refused([&] { scope.mark(long_id); }));
  CHECK(refused([&] { scope.contains(long_id); }));
  CHECK(refused([&] { scope.begin("a", 0ms); }));
  CHECK(refused([&] { store.lock("", 1min); }));
  CHECK(refused([&] { scope.mark("a", {.correlation = long_id}); }));
  const std::array<std::string_view, 2> ids{"a", long_id};
  std::array<Marked, 2> out;
  CHECK(refused([&] { scope.mark(ids, out); }));
  CHECK(refused([&] { scope.mark(ids, std::span(out).first(1)); }));
  CHECK_FALSE(scope.contains("a"));
  CHECK(refused([&] { store.wait(Lsn{std::uint64_t{1} << 40}); }));
  CHECK(scope.mark("a", {.result = std::string(1'000, 'r')}) == Verdict::fresh);
}

ENGINE_TEST_CASE("what is accepted can be waited for", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const Marked marked = scope.mark("a", Ack::disk);
  CHECK(store.durable() > marked.lsn);
  const Marked later = scope.mark("b");
  store.wait(later.lsn);
  CHECK(store.durable() > later.lsn);
  CHECK(scope.forget("a", Ack::disk));
  Claim claim = scope.begin("c", 1min);
  CHECK(claim.complete({}, Ack::disk));
  store.sync();
}

ENGINE_TEST_CASE("scopes are listed in the order of their first use", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  for (const char* const name : {"b", "a", "b"}) store.scope(name).mark("id");
  CHECK(store.scopes() == std::vector<std::string>{"b", "a"});
}

ENGINE_TEST_CASE("threads that mark the same ids agree on who was first", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  std::atomic<int> fresh{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) fresh += scope.mark(std::to_string(i)) == Verdict::fresh;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(fresh == 500);
}

#ifndef ONCELOG_NO_TRANSACTIONS

ENGINE_TEST_CASE("a transaction commits marks, claims and entries together, or none of them", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  Claim claim = scope.begin("c", 1min);
  store.transact([&](Transaction& transaction) {
    CHECK(transaction.mark(scope, "a", {.correlation = "job"}) == Verdict::fresh);
    CHECK(transaction.mark(scope, "b", {.correlation = "job"}) == Verdict::fresh);
    CHECK(transaction.mark(scope, "a") == Verdict::duplicate);
    CHECK(transaction.complete(claim, {.result = "done"}));
    CHECK_FALSE(claim);
    transaction.put("totals", "x", "1");
    transaction.put("totals", "y", "2");
    CHECK(transaction.get("totals", "x") == "1");
    CHECK(transaction.erase("totals", "y"));
    CHECK_FALSE(transaction.erase("totals", "y"));
    CHECK_FALSE(store.get("totals", "x"));
    CHECK_FALSE(scope.contains("a"));
  });
  CHECK(store.get("totals", "x") == "1");
  CHECK_FALSE(store.get("totals", "y"));
  CHECK(scope.mark("a") == Verdict::duplicate);
  CHECK(scope.find("c")->result == "done");
  CHECK(ids_of(store.correlated("job")) == std::vector<std::string>{"a", "b"});

  Claim given_back = scope.begin("e", 1min);
  CHECK_THROWS_AS(store.transact([&](Transaction& transaction) {
    transaction.mark(scope, "d");
    CHECK(transaction.complete(given_back));
    transaction.put("totals", "x", "3");
    throw std::runtime_error("changed my mind");
  }),
                  std::runtime_error);
  CHECK(store.get("totals", "x") == "1");
  CHECK_FALSE(scope.contains("d"));
  CHECK(scope.mark("d") == Verdict::fresh);
  CHECK(scope.mark("e") == Verdict::fresh);
}

ENGINE_TEST_CASE("a transaction is of one store, and waits for nothing", ONCELOG_ENGINES) {
  const auto engine = make();
  const auto other_engine = make();
  const Store store = engine->open(kOptions);
  const Store other = other_engine->open(kOptions);
  const Scope scope = store.scope("orders");
  const Scope foreign = other.scope("orders");
  Claim theirs = foreign.begin("a", 1min);
  store.transact([&](Transaction& transaction) {
    const auto refused = [](const std::function<void()>& call) {
      return error_code_of(call) == ErrorCode::invalid_argument;
    };
    CHECK(refused([&] { transaction.mark(foreign, "a"); }));
    CHECK(refused([&] { transaction.complete(theirs); }));
    CHECK(refused([&] { store.transact([](Transaction&) {}); }));
    CHECK(refused([&] { scope.mark("b", Ack::disk); }));
    CHECK(refused([&] { store.sync(); }));
    other.transact([&](Transaction& inner) { inner.put("t", "k", "v"); });
  });
  CHECK(other.get("t", "k") == "v");
  CHECK(theirs.complete());
}

ENGINE_TEST_CASE("user tables are scanned in the order of their keys", ONCELOG_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  store.transact([](Transaction& transaction) {
    for (const std::string_view key : {"b", "a", "c"}) transaction.put("t", key, key);
    transaction.put("t2", "z", "z");
  });
  std::string keys;
  const auto visit = [&](std::string_view key, std::string_view value) {
    CHECK(key == value);
    keys += key;
    return keys.size() < 2;
  };
  store.scan_table("t", "", visit);
  CHECK(keys == "ab");
  keys.clear();
  store.scan_table("t", "b", visit);
  CHECK(keys == "bc");
  CHECK(error_code_of([&] { store.get("t", ""); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { store.get("", "k"); }) == ErrorCode::invalid_argument);
}

#endif

#ifdef ONCELOG_LOCAL_ENGINES

ENGINE_TEST_CASE("a scan visits records in order, notes included, until it is told to stop", ONCELOG_LOCAL_ENGINES) {
  const auto engine = make();
  const Store store = engine->open(kOptions);
  const Scope scope = store.scope("orders");
  scope.mark("a");
  engine->advance(1min);
  store.scope("other").mark("b");
  scope.mark("c");
  scope.forget("a");
  std::vector<std::string> seen;
  const auto visit = [&](const Record& record) {
    seen.push_back(record.scope + "/" + record.id + (record.forgotten ? "!" : ""));
    return true;
  };
  store.scan({}, visit);
  CHECK(seen == std::vector<std::string>{"orders/a", "other/b", "orders/c", "orders/a!"});
  seen.clear();
  store.scan({.scope = "orders", .since = engine->now()}, visit);
  CHECK(seen == std::vector<std::string>{"orders/c", "orders/a!"});
  seen.clear();
  store.scan({.until = engine->now()}, visit);
  CHECK(seen == std::vector<std::string>{"orders/a"});
  int visits = 0;
  store.scan({}, [&](const Record&) { return ++visits < 2; });
  CHECK(visits == 2);
}

ENGINE_TEST_CASE("no more claims are held than max_claims allows", ONCELOG_LOCAL_ENGINES) {
  Options options = kOptions;
  options.max_claims = 2;
  const auto engine = make();
  const Store store = engine->open(options);
  const Scope scope = store.scope("orders");
  Claim a = scope.begin("a", 1min);
  const Claim b = scope.begin("b", 1min);
  CHECK(error_code_of([&] { scope.begin("c", 1min); }) == ErrorCode::full);
  a.abandon();
  CHECK(scope.begin("c", 1min));
}

TEST_CASE("a store in memory sees leases expire by its clock while others wait for them") {
  const auto clock = std::make_shared<FakeClock>();
  const Store store = open_in_memory(kOptions, clock);
  const Scope scope = store.scope("orders");
  const Claim claim = scope.begin("a", 1min);
  std::atomic<bool> began{false};
  std::thread waiter([&] {
    began = true;
    CHECK(scope.begin("a", 1min, {}, 1h));
  });
  wait_until([&] { return began.load(); });
  clock->advance(1min);
  waiter.join();
}

TEST_CASE("a store in memory says what it has not") {
  const Store store = open_in_memory();
  CHECK(error_code_of([&] { store.backup("elsewhere"); }) == ErrorCode::unsupported);
  CHECK(store.verify().sound());
}

#endif
