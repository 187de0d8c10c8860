#include "remote/redis/redis_backend.h"

#include <array>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "redis_asking.h"
#include "redis_engines.h"
#include "redis_server.h"
#include "remote/redis/keys.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::random_uuid;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::Attempt;
using internal::remote::Held;
using internal::remote::kLockScope;
using internal::remote::RedisBackend;
using internal::remote::Terms;

namespace {

const Terms kMinute{1min, OrphanPolicy::free_after_lease};

std::vector<Answer> mark_all(internal::remote::Backend& store, const Ids& ids, const Attempt& attempt = random_uuid()) {
  std::vector<Ask> asked;
  for (const std::string_view id : ids) asked.push_back({id, nullptr});
  std::vector<Answer> answers(asked.size());
  store.mark("orders", asked, Ack::host, attempt, answers);
  return answers;
}

std::vector<Answer> claim_all(internal::remote::Backend& store, const Ids& ids,
                              const Attempt& attempt = random_uuid()) {
  std::vector<Ask> asked;
  for (const std::string_view id : ids) asked.push_back({id, nullptr});
  std::vector<Answer> answers(asked.size());
  store.claim("orders", asked, kMinute, attempt, answers);
  return answers;
}

std::vector<Record> scanned(internal::remote::Backend& store, const ScanRange& range = {}) {
  std::vector<Record> all;
  store.scan(range, [&](const Record& record) {
    all.push_back(record);
    return true;
  });
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("an id is fresh once, and again when its retention has passed, to the microsecond", Engine, Single,
                   Clustered) {
  Engine engine;
  const auto store = engine.open();
  const Answer first = mark(*store, "orders", "a");
  CHECK(first.marked == Verdict::fresh);
  CHECK(first.marked.lsn.value % 8 == 0);
  CHECK(first.marked.lsn.value > 0);
  const Answer second = mark(*store, "orders", "a");
  CHECK(second.marked == Marked{Verdict::duplicate, first.marked.lsn});
  CHECK(second.record->processed_at == engine.now());
  CHECK(second.record->lsn == first.marked.lsn);
  CHECK_FALSE(find(*store, "other", "a"));
  engine.advance(1h - 1us);
  CHECK(mark(*store, "orders", "a").marked == Verdict::duplicate);
  CHECK(find(*store, "orders", "a"));
  engine.advance(1us);
  CHECK_FALSE(find(*store, "orders", "a"));
  CHECK(mark(*store, "orders", "a").marked == Verdict::fresh);
}

TEST_CASE_TEMPLATE("a batch is decided in order, ids twice in it included", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  mark(*store, "orders", "b");
  const std::vector<Answer> answers = mark_all(*store, Ids({"a", "b", "a", "c"}));
  CHECK(answers[0].marked == Verdict::fresh);
  CHECK(answers[1].marked == Verdict::duplicate);
  CHECK(answers[2].marked == Marked{Verdict::duplicate, answers[0].marked.lsn});
  CHECK(answers[2].record->lsn == answers[0].marked.lsn);
  CHECK(answers[3].marked == Verdict::fresh);
}

TEST_CASE_TEMPLATE("a batch of many more ids than one script takes is decided in order", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::size_t half = 20 * RedisBackend::kMostIds;
  const Ids ids(2 * half, [&](std::size_t i) { return std::to_string(i % half); });
  const std::vector<Answer> answers = mark_all(*store, ids);
  std::set<std::uint64_t> lsns;
  for (std::size_t i = 0; i < half; ++i) {
    REQUIRE(answers[i].marked == Verdict::fresh);
    REQUIRE(answers[half + i].marked == Marked{Verdict::duplicate, answers[i].marked.lsn});
    lsns.insert(answers[i].marked.lsn.value);
  }
  if (engine.address().find("cluster") == std::string::npos) CHECK(lsns.size() == half);
  std::vector<std::optional<Record>> found(half);
  store->find("orders", {ids.data(), half}, false, found);
  for (std::size_t i = 0; i < half; ++i) REQUIRE(found[i]->lsn == answers[i].marked.lsn);
}

TEST_CASE_TEMPLATE("a duplicate comes with all that its mark gave, and shows conflicts and redeliveries", Engine,
                   Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::string result("a\0b\r\n{}", 7);
  const Attributes given{.correlation = "order 7",
                         .fingerprint = ~0ULL - 5,
                         .result = result,
                         .source = {"topic", 4'000'000'000u, 0x8123456789abcdefULL}};
  const Lsn lsn = mark(*store, "orders", "a", given).marked.lsn;
  const Answer same = mark(*store, "orders", "a", given);
  CHECK(same.marked == Marked{Verdict::duplicate, lsn, true});
  CHECK(same.record->correlation == "order 7");
  CHECK(same.record->fingerprint == ~0ULL - 5);
  CHECK(same.record->result == result);
  CHECK(same.record->source == Source{"topic", 4'000'000'000u, 0x8123456789abcdefULL});
  CHECK(same.record->scope.empty());
  CHECK(same.record->id.empty());
  CHECK(mark(*store, "orders", "a", {.fingerprint = 3}).marked == Marked{Verdict::conflict, lsn});
  CHECK(mark(*store, "orders", "a", {.fingerprint = 3}).record->lsn == lsn);
  CHECK(mark(*store, "orders", "a", {.source = {"topic", 1, 2}}).marked == Marked{Verdict::duplicate, lsn});
  CHECK(claim(*store, "orders", "a", kMinute, {.fingerprint = 3}).marked == Verdict::conflict);
  CHECK(find(*store, "orders", "a", true)->result == result);
  CHECK(find(*store, "orders", "a", false)->result.empty());
  CHECK(find(*store, "orders", "a", false)->lsn == lsn);
}

TEST_CASE_TEMPLATE("results of the largest size come back, many in one batch", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::string result(kMaxResultBytes, 'r');
  const Attributes given{.result = result};
  const Ids ids(12, [](std::size_t i) { return std::string(kMaxIdBytes, static_cast<char>('a' + i)); });
  std::vector<Ask> asked;
  for (const std::string_view id : ids) asked.push_back({id, &given});
  std::vector<Answer> answers(ids.size());
  store->mark("orders", asked, Ack::host, random_uuid(), answers);
  for (const Answer& answer : answers) CHECK(answer.marked == Verdict::fresh);
  store->mark("orders", asked, Ack::host, random_uuid(), answers);
  for (const Answer& answer : answers) CHECK(answer.record->result == result);
}

TEST_CASE_TEMPLATE("ids and scopes are any bytes", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::vector<std::string> names{"}", "{", "a}b{c", "%7D", "a:0}", ":", std::string("\0\r\n*", 4), "{store}"};
  for (const std::string& scope : names) {
    for (const std::string& id : names) {
      CAPTURE(scope);
      CAPTURE(id);
      CHECK(mark(*store, scope, id, {.correlation = id}).marked == Verdict::fresh);
      CHECK(mark(*store, scope, id).marked == Verdict::duplicate);
      CHECK(claim(*store, scope, "c" + id, kMinute).token != 0);
    }
  }
  CHECK(store->scopes() == names);
  std::set<std::pair<std::string, std::string>> seen;
  for (const Record& record : scanned(*store)) seen.emplace(record.scope, record.id);
  CHECK(seen.size() == names.size() * names.size());
  for (const std::string& scope : names) CHECK(seen.contains({scope, "a}b{c"}));
  CHECK(store->claims().size() == names.size() * names.size());
}

TEST_CASE_TEMPLATE("a message older than all that is known is too old, unless it is known", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  CHECK(store->known_since() == engine.now() - 1h + 1us);
  mark(*store, "orders", "known");
  const Attributes old{.sent_at = engine.now() - 1h};
  CHECK(mark(*store, "orders", "known", old).marked == Verdict::duplicate);
  CHECK(mark(*store, "orders", "a", old).marked == Verdict::too_old);
  CHECK(claim(*store, "orders", "a", kMinute, old).marked == Verdict::too_old);
  CHECK(mark(*store, "orders", "a", {.sent_at = Time{-5us}}).marked == Verdict::too_old);
  CHECK(mark(*store, "orders", "a", {.sent_at = engine.now() - 1h + 1us}).marked == Verdict::fresh);
}

TEST_CASE_TEMPLATE("a claim keeps others out until it is completed", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const Answer taken = claim(*store, "orders", "a", kMinute);
  CHECK(taken.marked == Verdict::fresh);
  CHECK(taken.token != 0);
  for (const Answer& other : {claim(*store, "orders", "a", kMinute), mark(*store, "orders", "a")}) {
    CHECK(other.marked == Verdict::in_progress);
    CHECK(other.token == 0);
    CHECK(other.owner->process == ::getpid());
    CHECK(other.owner->deadline == engine.now() + 1min);
  }
  CHECK(store->holder("orders", "a")->deadline == engine.now() + 1min);
  CHECK_FALSE(store->holder("orders", "b"));
  const Lsn lsn = complete(*store, "orders", "a", taken.token, {.correlation = "c", .result = "done"});
  CHECK(lsn.value != 0);
  const Answer after = claim(*store, "orders", "a", kMinute);
  CHECK(after.marked == Marked{Verdict::duplicate, lsn});
  CHECK(after.record->result == "done");
  CHECK(after.record->correlation == "c");
  CHECK_FALSE(store->holder("orders", "a"));
  CHECK(store->claims().empty());
}

TEST_CASE_TEMPLATE("an expired lease frees an id, and still completes when nobody has taken it", Engine, Single,
                   Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::uint64_t late = claim(*store, "orders", "a", kMinute).token;
  const std::uint64_t alone = claim(*store, "orders", "b", kMinute).token;
  const std::uint64_t marked = claim(*store, "orders", "c", kMinute).token;
  engine.advance(1min - 1us);
  CHECK(claim(*store, "orders", "a", kMinute).marked == Verdict::in_progress);
  engine.advance(1us);
  CHECK_FALSE(store->holder("orders", "a"));
  const Answer next = claim(*store, "orders", "a", kMinute);
  CHECK(next.marked == Verdict::fresh);
  CHECK(next.token > late);
  CHECK(mark(*store, "orders", "c").marked == Verdict::fresh);
  CHECK(complete(*store, "orders", "a", late).value == 0);
  CHECK(complete(*store, "orders", "c", marked).value == 0);
  CHECK_FALSE(store->renew("orders", {"a", late}, 1min));
  CHECK_FALSE(abandon(*store, "orders", "a", late));
  CHECK(complete(*store, "orders", "b", alone).value != 0);
  CHECK(complete(*store, "orders", "a", next.token).value != 0);
}

TEST_CASE_TEMPLATE("a lease can be renewed, also after it has expired", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::uint64_t token = claim(*store, "orders", "a", kMinute).token;
  engine.advance(2min);
  CHECK(store->renew("orders", {"a", token}, 5min));
  engine.advance(5min - 1us);
  CHECK(mark(*store, "orders", "a").marked == Verdict::in_progress);
  CHECK_FALSE(store->renew("orders", {"a", token + 1}, 5min));
  CHECK(complete(*store, "orders", "a", 0).value == 0);
  CHECK(complete(*store, "orders", "a", token).value != 0);
  CHECK_FALSE(store->renew("orders", {"a", token}, 5min));
}

TEST_CASE_TEMPLATE("a claim that is to be kept stays until it is released, upkeep or not", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  claim(*store, "orders", "kept", {1ms, OrphanPolicy::keep});
  claim(*store, "orders", "let", {1ms, OrphanPolicy::free_after_lease});
  engine.advance(1h);
  CHECK(store->upkeep().blocks == 0);
  CHECK(store->claims().size() == 2);
  engine.advance(1ms);
  CHECK(store->upkeep().blocks == 1);
  CHECK(store->claims().size() == 1);
  engine.advance(24h * 365);
  CHECK(mark(*store, "orders", "kept").marked == Verdict::in_progress);
  CHECK(release(*store, "orders", "kept"));
  CHECK_FALSE(release(*store, "orders", "kept"));
  CHECK(mark(*store, "orders", "kept").marked == Verdict::fresh);
}

TEST_CASE_TEMPLATE("a batch of claims says which ids it holds itself, and is completed or abandoned as one", Engine,
                   Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  mark(*store, "orders", "b");
  const Ids ids({"a", "b", "a", "c"});
  const std::vector<Answer> taken = claim_all(*store, ids);
  CHECK(taken[0].marked == Verdict::fresh);
  CHECK(taken[1].marked == Verdict::duplicate);
  CHECK(taken[2].marked == Marked{Verdict::duplicate, Lsn{}});
  CHECK(taken[2].token == 0);
  CHECK(taken[3].marked == Verdict::fresh);
  const std::vector<Held> held{{"a", taken[0].token}, {"c", taken[3].token}, {"d", 77}};
  std::vector<internal::remote::Stamp> stamps(3);
  store->complete("orders", held, Ack::host, random_uuid(), stamps);
  CHECK(stamps[0].lsn.value != 0);
  CHECK(stamps[0].processed_at == engine.now());
  CHECK(stamps[1].lsn.value != 0);
  CHECK(stamps[2].lsn.value == 0);
  const std::vector<Answer> more = claim_all(*store, Ids({"x", "y"}));
  const std::vector<Held> both{{"x", more[0].token}, {"y", more[1].token}, {"z", 5}};
  CHECK(store->abandon("orders", both) == 2);
  CHECK(store->abandon("orders", both) == 0);
  CHECK(mark(*store, "orders", "x").marked == Verdict::fresh);
}

TEST_CASE_TEMPLATE("claims are listed with their holders, locks without a scope", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::uint64_t token = claim(*store, "orders", std::string(100, 'a'), kMinute).token;
  claim(*store, kLockScope, "lock", {2min, OrphanPolicy::free_at_once});
  const std::vector<ClaimInfo> claims = store->claims();
  REQUIRE(claims.size() == 2);
  const ClaimInfo& one = claims[claims[0].scope.empty() ? 1 : 0];
  const ClaimInfo& lock = claims[claims[0].scope.empty() ? 0 : 1];
  CHECK(one.scope == "orders");
  CHECK(one.id == std::string(64, 'a'));
  CHECK(one.token == token);
  CHECK(one.orphans == OrphanPolicy::free_after_lease);
  CHECK(one.owner.deadline == engine.now() + 1min);
  CHECK(one.owner_alive);
  CHECK(lock.id == "lock");
  CHECK(store->scopes() == std::vector<std::string>{"orders"});
}

TEST_CASE_TEMPLATE("what is forgotten is fresh again, and a scan shows the note", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const Lsn lsn = mark(*store, "orders", "a", {.correlation = "c"}).marked.lsn;
  CHECK_FALSE(forget(*store, "orders", "b"));
  CHECK(forget(*store, "orders", "a"));
  CHECK_FALSE(forget(*store, "orders", "a"));
  CHECK_FALSE(find(*store, "orders", "a"));
  CHECK(store->correlated("c").empty());
  const std::vector<Record> notes = scanned(*store);
  REQUIRE(notes.size() == 1);
  CHECK(notes[0].forgotten);
  CHECK(notes[0].id == "a");
  CHECK(notes[0].lsn > lsn);
  CHECK(mark(*store, "orders", "a").marked == Verdict::fresh);
}

TEST_CASE_TEMPLATE("forgetting leaves a claim alone", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  mark(*store, "orders", "a");
  engine.advance(1h);
  const std::uint64_t token = claim(*store, "orders", "a", kMinute).token;
  CHECK_FALSE(forget(*store, "orders", "a"));
  CHECK(mark(*store, "orders", "a").marked == Verdict::in_progress);
  CHECK(complete(*store, "orders", "a", token).value != 0);
}

TEST_CASE_TEMPLATE("records of one correlation are found over all scopes, oldest first", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  mark(*store, "orders", "a", {.correlation = "x"});
  engine.advance(1s);
  mark(*store, "mails", "b", {.correlation = "x"});
  engine.advance(1s);
  const std::uint64_t token = claim(*store, "orders", "c", kMinute).token;
  complete(*store, "orders", "c", token, {.correlation = "x"});
  mark(*store, "orders", "d", {.correlation = "y"});
  std::vector<std::string> ids;
  for (const Record& record : store->correlated("x")) ids.push_back(record.scope + "/" + record.id);
  CHECK(ids == std::vector<std::string>{"orders/a", "mails/b", "orders/c"});
  CHECK(store->correlated("z").empty());
  engine.advance(1h - 2s);
  CHECK(store->correlated("x").size() == 2);
  mark(*store, "orders", "a");  // Without.
  CHECK(store->correlated("x").size() == 2);
}

TEST_CASE_TEMPLATE("a scan shows each record once, oldest first, of a scope and a time", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::size_t count = 3000;
  std::vector<std::string> order;
  for (std::size_t i = 0; i < count; i += 100) {
    std::vector<std::string> some;
    for (std::size_t n = i; n < i + 100; ++n) some.push_back(std::to_string(n));
    mark_all(*store, Ids(some));
    engine.advance(1s);
  }
  const Time middle = engine.now();
  mark(*store, "mails", "m", {.result = "r"});
  CHECK(scanned(*store).size() == count + 1);
  const std::vector<Record> all = scanned(*store, {.scope = "orders"});
  REQUIRE(all.size() == count);
  for (std::size_t i = 1; i < count; ++i) REQUIRE(all[i - 1].processed_at <= all[i].processed_at);
  std::set<std::string> ids;
  for (const Record& record : all) ids.insert(record.id);
  CHECK(ids.size() == count);
  CHECK(scanned(*store, {.since = middle})[0].result == "r");
  CHECK(scanned(*store, {.since = middle}).size() == 1);
  CHECK(scanned(*store, {.until = middle}).size() == count);
  std::size_t visited = 0;
  store->scan({}, [&](const Record&) { return ++visited < 70; });
  CHECK(visited == 70);
  engine.advance(1h);
  CHECK(scanned(*store).empty());
  CHECK(store->records() == 0);
}

TEST_CASE("records are counted one by one where they are few, and by a sample where they are many") {
  RedisServer server;
  const auto clock = std::make_shared<internal::remote::ServerClock>();
  const auto store = open_redis(internal::remote::parse_redis_address(server.address("p")), {}, clock);
  CHECK(store->records() == 0);
  mark_all(*store, Ids(1000, [](std::size_t i) { return std::to_string(i); }));
  claim(*store, "orders", "claimed", kMinute);
  forget(*store, "orders", "7");
  CHECK(store->records() == 999);
  mark_all(*store, Ids(20'000, [](std::size_t i) { return "b" + std::to_string(i); }));
  for (int i = 0; i < 2000; ++i) server.ask({"SET", "foreign" + std::to_string(i), ""});
  CHECK(store->records() > 18'000);
  CHECK(store->records() < 24'000);
}

TEST_CASE_TEMPLATE("a call that is sent again answers as the first time", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const Attempt attempt = random_uuid();
  const Ids ids({"a", "b", "a"});
  const std::vector<Answer> first = mark_all(*store, ids, attempt);
  const std::vector<Answer> again = mark_all(*store, ids, attempt);
  for (std::size_t i = 0; i < ids.size(); ++i) CHECK(again[i].marked == first[i].marked);
  CHECK(again[0].marked == Verdict::fresh);
  CHECK(again[2].marked == Verdict::duplicate);
  CHECK(mark_all(*store, ids)[0].marked == Verdict::duplicate);

  const Attempt taking = random_uuid();
  const Ids claimed({"x", "y", "x"});
  const std::vector<Answer> taken = claim_all(*store, claimed, taking);
  const std::vector<Answer> same = claim_all(*store, claimed, taking);
  for (std::size_t i = 0; i < claimed.size(); ++i) {
    CHECK(same[i].marked == taken[i].marked);
    CHECK(same[i].token == taken[i].token);
  }
  CHECK(claim_all(*store, claimed)[0].marked == Verdict::in_progress);

  const Attempt completing = random_uuid();
  const Lsn lsn = complete(*store, "orders", "x", taken[0].token, {}, completing);
  CHECK(lsn.value != 0);
  CHECK(complete(*store, "orders", "x", taken[0].token, {}, completing) == lsn);

  const Attempt forgetting = random_uuid();
  CHECK(forget(*store, "orders", "a", forgetting));
  CHECK(forget(*store, "orders", "a", forgetting));
  CHECK_FALSE(forget(*store, "orders", "a"));

  const Attempt releasing = random_uuid();
  CHECK(release(*store, "orders", "y", releasing));
  CHECK(release(*store, "orders", "y", releasing));
  CHECK_FALSE(release(*store, "orders", "y"));
}

TEST_CASE_TEMPLATE("callers that share a batch are known again by their own attempts, in another batch too", Engine,
                   Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const Attempt mine = random_uuid();
  const Attempt others = random_uuid();
  std::vector<Answer> answers(3);
  const std::vector<Ask> both{{"a", nullptr, &others}, {"a", nullptr, &mine}, {"b", nullptr, &mine}};
  store->mark("orders", both, Ack::host, random_uuid(), answers);
  CHECK(answers[0].marked == Verdict::fresh);
  CHECK(answers[0].processed_at == engine.now());
  CHECK(answers[1].marked == Verdict::duplicate);
  CHECK(answers[2].marked == Verdict::fresh);
  const std::vector<Ask> again{{"b", nullptr, &mine}, {"a", nullptr, &mine}, {"a", nullptr, &others}};
  store->mark("orders", again, Ack::host, random_uuid(), answers);
  CHECK(answers[0].marked == Verdict::fresh);
  CHECK(answers[1].marked == Verdict::duplicate);
  CHECK(answers[2].marked == Verdict::fresh);
  const std::vector<Ask> claims{{"c", nullptr, &mine}, {"c", nullptr, &others}, {"c", nullptr, &mine}};
  store->claim("orders", claims, kMinute, random_uuid(), answers);
  CHECK(answers[0].token != 0);
  CHECK(answers[1].marked == Verdict::in_progress);
  CHECK(answers[2].marked == Verdict::duplicate);
}

TEST_CASE_TEMPLATE("the pulse of a scope changes with each forget and each loss, and with nothing else", Engine, Single,
                   Clustered) {
  Engine engine;
  const auto store = engine.open();
  const std::uint64_t first = store->pulse("orders").generation;
  CHECK(store->pulse("orders").now == engine.now());
  mark(*store, "orders", "a");
  engine.advance(1s);
  CHECK_FALSE(forget(*store, "orders", "b"));
  CHECK(store->pulse("orders").generation == first);
  CHECK(forget(*store, "orders", "a"));
  const std::uint64_t second = store->pulse("orders").generation;
  CHECK(second != first);
  CHECK(engine.open()->pulse("orders").generation == second);
  CHECK(store->scopes() == std::vector<std::string>{"orders"});
}

TEST_CASE_TEMPLATE("a call that is sent again leaves alone what others have done since", Engine, Single, Clustered) {
  Engine engine;
  const auto store = engine.open();
  const Attempt forgetting = random_uuid();
  mark(*store, "orders", "a");
  CHECK(forget(*store, "orders", "a", forgetting));
  mark(*store, "orders", "a");
  CHECK(forget(*store, "orders", "a", forgetting));
  CHECK(find(*store, "orders", "a"));

  const Attempt releasing = random_uuid();
  claim(*store, "orders", "b", kMinute);
  CHECK(release(*store, "orders", "b", releasing));
  const std::uint64_t token = claim(*store, "orders", "b", kMinute).token;
  CHECK(release(*store, "orders", "b", releasing));
  CHECK(complete(*store, "orders", "b", token).value != 0);

  const Attempt marking = random_uuid();
  CHECK(mark(*store, "orders", "c", {}, marking).marked == Verdict::fresh);
  CHECK(forget(*store, "orders", "c"));
  CHECK(mark(*store, "orders", "c", {}, marking).marked == Verdict::fresh);
  CHECK_FALSE(find(*store, "orders", "c"));  // It stays forgotten.

  const Lsn lsn = complete(*store, "orders", "d", claim(*store, "orders", "d", kMinute).token);
  CHECK(lsn.value != 0);
}

TEST_CASE("LSNs and tokens grow over the whole store, whatever the clock does") {
  Single engine;
  const auto store = engine.open();
  std::uint64_t lsn = 0;
  std::uint64_t token = 0;
  Time time{};
  for (int i = 0; i < 20; ++i) {
    const std::string id = std::to_string(i);
    const std::string scope = i % 2 == 0 ? "orders" : "mails";
    const Answer marked = mark(*store, scope, id);
    CHECK(marked.marked.lsn.value > lsn);
    lsn = marked.marked.lsn.value;
    CHECK(find(*store, scope, id)->processed_at >= time);
    time = find(*store, scope, id)->processed_at;
    const Answer claimed = claim(*store, scope, "c" + id, kMinute);
    CHECK(claimed.token > token);
    token = claimed.token;
    engine.advance(i == 10 ? -10min : std::chrono::microseconds{1min});  // Somebody sets it back.
  }
}

TEST_CASE("keys end with their retention on the server too, and not before") {
  Single engine;
  const auto store = engine.open({.retention = 10s});
  mark(*store, "orders", "a", {.correlation = "c"});
  RedisServer& server = Single::shared();
  for (const std::string& key : {engine.prefix + ":{orders:0}:a", engine.prefix + ":{orders:0}/c"}) {
    const long left = std::stol(server.text({"PTTL", key}));
    CHECK(left > 5'000);
    CHECK(left <= 10'001);
  }
  claim(*store, "orders", "kept", {1ms, OrphanPolicy::keep});
  CHECK(server.text({"PTTL", engine.prefix + ":{orders:0}#"}) == "-1");
}

TEST_CASE("the server's own clock decides, and its time to live only gives back the space") {
  const auto shift = std::make_shared<internal::remote::ServerClock>();
  const auto address = internal::remote::parse_redis_address(Single::shared().address(next_prefix()));
  const auto store = open_redis(address, {.retention = 1h}, shift);
  const auto before = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
  mark(*store, "orders", "a");
  const Time at = find(*store, "orders", "a")->processed_at;
  CHECK(at >= before);
  CHECK(at <= std::chrono::system_clock::now());
  shift->us = std::chrono::microseconds{1h}.count();  // The key is still there.
  CHECK_FALSE(find(*store, "orders", "a"));
  CHECK(store->records() == 0);
  CHECK(mark(*store, "orders", "a").marked == Verdict::fresh);
}

TEST_CASE("many threads mark each id once, and tokens are never given twice") {
  Single engine;
  const auto store = engine.open({.connections = 3});
  std::atomic<int> fresh{0};
  std::mutex mutex;
  std::set<std::uint64_t> tokens;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        if (mark(*store, "orders", std::to_string(i)).marked == Verdict::fresh) ++fresh;
        const std::uint64_t token = claim(*store, "claims", std::to_string(i), kMinute).token;
        const std::lock_guard guard(mutex);
        if (token != 0) tokens.insert(token);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(fresh == 200);
  CHECK(tokens.size() == 200);
}

TEST_CASE("a store keeps its retention, and says so to those that want another") {
  Single engine;
  CHECK(error_code_of([&] { engine.open({.create = false}); }) == ErrorCode::not_found);
  CHECK(error_code_of([&] { engine.open({.read_only = true}); }) == ErrorCode::not_found);
  CHECK(engine.open({.retention = 90min})->retention() == 90min);
  CHECK(error_code_naming("1h30m", [&] { engine.open({.retention = 1h}); }) == ErrorCode::options_mismatch);
  const auto address = internal::remote::parse_redis_address(engine.address());
  CHECK(open_redis(address, {})->retention() == 90min);
  CHECK(open_redis(address, {.create = false})->retention() == 90min);
}

TEST_CASE("a store of a later version, or with settings that nobody wrote, is not opened") {
  Single engine;
  engine.open();
  RedisServer& server = Single::shared();
  const std::string settings = engine.prefix + ":{store}settings";
  server.ask({"HSET", settings, "version", "2"});
  CHECK(error_code_of([&] { engine.open(); }) == ErrorCode::newer_format);
  server.ask({"HSET", settings, "version", "1", "shards", "0"});
  CHECK(error_code_of([&] { engine.open(); }) == ErrorCode::corrupt);
  server.ask({"HSET", settings, "shards", "1", "retention_us", "soon"});
  CHECK(error_code_of([&] { engine.open(); }) == ErrorCode::corrupt);
  server.ask({"SET", settings, "x"});
  CHECK(error_code_of([&] { engine.open(); }) == ErrorCode::corrupt);
}

TEST_CASE("bytes that no script writes are corrupt, never a verdict") {
  Single engine;
  const auto store = engine.open();
  mark(*store, "orders", "other");
  RedisServer& server = Single::shared();
  const std::string key = engine.prefix + ":{orders:0}:a";
  for (const std::string& value : {std::string("P"), std::string("Pxxxxxxxxxxxxxxxxxxxxx"),
                                   "P" + std::string(60, '\x7f'), std::string("P") + std::string(8, '\x01')}) {
    server.ask({"SET", key, value});
    CAPTURE(value);
    CHECK_THROWS_AS(mark(*store, "orders", "a"), Error);
    CHECK_THROWS_AS(find(*store, "orders", "a"), Error);
    CHECK_THROWS_AS(scanned(*store), Error);
  }
  server.ask({"DEL", key});
  server.ask({"LPUSH", key, "x"});
  CHECK(error_code_of([&] { mark(*store, "orders", "a"); }) == ErrorCode::corrupt);
  server.ask({"DEL", key});
  CHECK(mark(*store, "orders", "a").marked == Verdict::fresh);
}

TEST_CASE("transactions and tables are what it does not have, and says why") {
  Single engine;
  const auto store = engine.open();
  CHECK(error_code_naming("PostgreSQL", [&] { store->begin_work(); }) == ErrorCode::unsupported);
  CHECK(error_code_of([&] { store->get("t", "k"); }) == ErrorCode::unsupported);
  CHECK(error_code_of([&] { store->scan_table("t", "", {}); }) == ErrorCode::unsupported);
}

TEST_CASE("scripts that the server has dropped are loaded again") {
  Single engine;
  const auto store = engine.open();
  mark(*store, "orders", "a");
  Single::shared().ask({"SCRIPT", "FLUSH"});
  CHECK(mark(*store, "orders", "b").marked == Verdict::fresh);
  CHECK(mark(*store, "orders", "a").marked == Verdict::duplicate);
}

TEST_CASE("a batch takes one round trip, and one script for each of its shards") {
  Clustered engine;
  const auto store = engine.open();
  const Ids ids(500, [](std::size_t i) { return std::to_string(i); });
  mark_all(*store, ids);
  std::uint64_t calls = 0;
  const auto calls_so_far = [&] {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string stats = Clustered::shared().at(i).text({"INFO", "commandstats"});
      const std::string line(internal::remote::info_field(stats, "cmdstat_evalsha"));
      if (!line.empty()) sum += std::stoull(line.substr(line.find('=') + 1));
    }
    return sum;
  };
  calls = calls_so_far();
  for (const Answer& answer : mark_all(*store, ids)) CHECK(answer.marked == Verdict::duplicate);
  CHECK(calls_so_far() - calls == RedisBackend::kClusterShards);
}
