#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <random>
#include <thread>

#include <oncelog/remote.h>

#include "postgresql_server.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::random_uuid;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::Held;
using internal::remote::Stamp;

namespace {

PostgresqlServer& server() {
  static PostgresqlServer server;
  return server;
}

/// A store of its own on the one server, whose clock a test steps.
struct OnServer {
  explicit OnServer(std::chrono::milliseconds retention = 1h) {
    schema = fmt::format("store_{}", ++stores);
    make_with_test_clock(server(), schema, retention);
  }

  std::unique_ptr<internal::remote::Backend> backend() const { return open_backend(server().address(schema)); }
  Store open(const remote::Options& options = {}) const { return remote::open(server().address(schema), options); }
  void advance(std::chrono::microseconds by) const { advance_test_clock(server(), schema, by); }
  std::string ask(const std::string& statement) const {
    std::string sql = statement;
    for (std::size_t at = sql.find("STORE"); at != std::string::npos; at = sql.find("STORE"))
      sql.replace(at, 5, schema);
    return server().ask(sql);
  }
  /// All that is due.
  int turns() const {
    int turns = 0;
    while (ask("select STORE.upkeep()") == "t") ++turns;
    return turns;
  }
  std::string rows() const { return ask("select count(*) from STORE.entries"); }

  inline static int stores = 0;
  std::string schema;
};

/// A client of SQL's, for transactions that stay open.
class Session {
 public:
  Session() : connection_(PQconnectdb(where().c_str()), &PQfinish) {}

  std::string ask(const std::string& sql) {
    send(sql);
    return answer();
  }
  void send(const std::string& sql) { REQUIRE(PQsendQuery(connection_.get(), sql.c_str()) == 1); }
  /// The first cell; waits for it.
  std::string answer() {
    std::string cell;
    while (PGresult* const result = PQgetResult(connection_.get())) {
      CHECK_MESSAGE(PQresultStatus(result) != PGRES_FATAL_ERROR, PQresultErrorMessage(result));
      if (PQntuples(result) > 0) cell = PQgetvalue(result, 0, 0);
      PQclear(result);
    }
    return cell;
  }
  /// Waits until the server has it wait for another transaction.
  void wait_until_blocked() {
    const std::string sql =
        fmt::format("select count(*) from pg_stat_activity where pid = {} and wait_event_type = 'Lock'",
                    PQbackendPID(connection_.get()));
    while (server().ask(sql) != "1") std::this_thread::yield();
  }

 private:
  static std::string where() {
    return fmt::format("host={} dbname=postgres user=postgres", server().socket_directory().string());
  }

  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

}  // namespace

/// `until` makes a transaction of `first` that has marked the id, and turns the slices so far; then another comes.
void meet(const std::function<void(const OnServer&, Session& first, const std::string& mark)>& until) {
  for (const bool commits : {true, false}) {
    CAPTURE(commits);
    const OnServer store;
    const std::string mark = fmt::format("select {}.mark('orders', 'a')", store.schema);
    store.advance(15min);
    Session first;
    Session second;
    until(store, first, mark);
    second.send(mark);
    second.wait_until_blocked();
    first.ask(commits ? "commit" : "rollback");
    CHECK(second.answer() == (commits ? "f" : "t"));
  }
}

TEST_CASE("transactions that accept the same id while the slices turn meet, whatever each knew of the turn") {
  const std::string upkeep = "select STORE.upkeep()";
  SUBCASE("one before it, one while they turn") {
    meet([&](const OnServer& store, Session& first, const std::string& mark) {
      first.ask("begin");
      CHECK(first.ask(mark) == "t");
      CHECK(store.ask(upkeep) == "t");
    });
  }
  SUBCASE("one before it, for which the turn waits") {
    meet([&](const OnServer& store, Session& first, const std::string& mark) {
      first.ask("begin");
      CHECK(first.ask(mark) == "t");
      CHECK(store.turns() == 2);
      CHECK(store.ask("select next is not null from STORE.settings") == "t");
    });
  }
  SUBCASE("one while they turn, one when they have turned") {
    meet([&](const OnServer& store, Session& first, const std::string& mark) {
      CHECK(store.ask(upkeep) == "t");
      CHECK(store.ask(upkeep) == "t");
      first.ask("begin");
      CHECK(first.ask(mark) == "t");
      CHECK(store.ask(upkeep) == "t");
      CHECK(store.ask("select slice from STORE.settings") == "1");
    });
  }
}

TEST_CASE("a call that is sent again is told of its own entries what it would have been told the first time") {
  const OnServer store;
  const auto backend = store.backend();
  const std::array<Ask, 3> asked{Ask{"a"}, Ask{"b"}, Ask{"a"}};
  std::array<Answer, 3> first;
  std::array<Answer, 3> again;
  const auto attempt = random_uuid();
  backend->mark("orders", asked, Ack::host, attempt, first);
  backend->mark("orders", asked, Ack::host, attempt, again);
  for (std::size_t i = 0; i < asked.size(); ++i) CHECK(again[i].marked == first[i].marked);
  CHECK(first[0].marked == Verdict::fresh);
  CHECK(first[2].marked == Verdict::duplicate);
  std::array<Answer, 3> other;
  backend->mark("orders", asked, Ack::host, random_uuid(), other);
  CHECK(other[0].marked == Marked{Verdict::duplicate, first[0].marked.lsn});

  const std::array<Ask, 1> claimed{Ask{"c"}};
  std::array<Answer, 1> claim;
  std::array<Answer, 1> claim_again;
  const auto second = random_uuid();
  backend->claim("orders", claimed, {10s}, second, claim);
  backend->claim("orders", claimed, {10s}, second, claim_again);
  CHECK(claim[0].token != 0);
  CHECK(claim_again[0].token == claim[0].token);
  backend->claim("orders", claimed, {10s}, random_uuid(), claim_again);
  CHECK(claim_again[0].marked == Verdict::in_progress);

  const std::array<Held, 1> held{Held{"c", claim[0].token}};
  std::array<Stamp, 1> lsn;
  std::array<Stamp, 1> lsn_again;
  const auto third = random_uuid();
  backend->complete("orders", held, Ack::host, third, lsn);
  backend->complete("orders", held, Ack::host, third, lsn_again);
  CHECK(lsn[0].lsn.value != 0);
  CHECK(lsn_again == lsn);
  backend->complete("orders", held, Ack::host, random_uuid(), lsn_again);
  CHECK(lsn_again[0].lsn.value == 0);
}

TEST_CASE("ids are remembered for exactly their retention while the slices turn, and their space comes back") {
  const OnServer store;
  const auto backend = store.backend();
  Answer answer;
  for (int minute = 0; minute < 600; ++minute) {
    const std::string id = std::to_string(minute);
    const Ask ask{id};
    backend->mark("orders", {&ask, 1}, Ack::host, random_uuid(), {&answer, 1});
    REQUIRE(answer.marked == Verdict::fresh);
    if (minute % 7 == 0) store.turns();
    for (const int age : {1, 20, 59, 60}) {
      if (minute < age) continue;
      const std::string earlier = std::to_string(minute - age);
      const std::string_view view = earlier;
      std::optional<Record> found;
      backend->find("orders", {&view, 1}, false, {&found, 1});
      CHECK(found.has_value() == (age < 60));
    }
    store.advance(1min);
  }
  CHECK(std::stoi(store.rows()) < 120);
  CHECK(std::stoi(store.rows()) >= 59);
}

TEST_CASE("claims outlive the turns of the slices, whatever their lease, and are completed once") {
  const OnServer store;
  const auto backend = store.backend();
  const std::array<Ask, 2> asked{Ask{"long"}, Ask{"kept"}};
  std::array<Answer, 2> claims;
  backend->claim("orders", {asked.data(), 1}, {24h}, random_uuid(), {claims.data(), 1});
  backend->claim("orders", {&asked[1], 1}, {1ms, OrphanPolicy::keep}, random_uuid(), {&claims[1], 1});
  for (int hour = 0; hour < 5; ++hour) {
    for (int quarter = 0; quarter < 4; ++quarter) {
      store.advance(15min);
      CHECK(store.turns() >= 3);
    }
    std::array<Answer, 2> others;
    backend->claim("orders", asked, {10s}, random_uuid(), others);
    CHECK(others[0].marked == Verdict::in_progress);
    CHECK(others[1].marked == Verdict::in_progress);
  }
  CHECK(store.rows() == "2");
  CHECK(backend->renew("orders", {"long", claims[0].token}, 1h));
  const std::array<Held, 2> held{Held{"long", claims[0].token}, Held{"kept", claims[1].token}};
  std::array<Stamp, 2> lsns;
  backend->complete("orders", held, Ack::disk, random_uuid(), lsns);
  CHECK(lsns[0].lsn.value != 0);
  CHECK(lsns[1].lsn.value != 0);
  std::array<Answer, 2> after;
  backend->mark("orders", asked, Ack::host, random_uuid(), after);
  CHECK(after[0].marked == Marked{Verdict::duplicate, lsns[0].lsn});
  CHECK(after[1].marked == Marked{Verdict::duplicate, lsns[1].lsn});
}

TEST_CASE("a claim that another took over in a later slice is late, and cannot be renewed") {
  const OnServer store;
  const auto backend = store.backend();
  const Ask ask{"a"};
  Answer first;
  Answer second;
  backend->claim("orders", {&ask, 1}, {1s}, random_uuid(), {&first, 1});
  store.advance(16min);
  SUBCASE("while they turn") {
    CHECK(store.ask("select STORE.upkeep()") == "t");
  }
  SUBCASE("when they have turned") {
    CHECK(store.turns() == 3);
  }
  backend->claim("orders", {&ask, 1}, {1h}, random_uuid(), {&second, 1});
  REQUIRE(second.token != 0);
  CHECK_FALSE(backend->renew("orders", {"a", first.token}, 1h));
  const Held held{"a", first.token};
  Stamp lsn{Lsn{8}};
  backend->complete("orders", {&held, 1}, Ack::host, random_uuid(), {&lsn, 1});
  CHECK(lsn.lsn.value == 0);
  CHECK(backend->abandon("orders", {&held, 1}) == 0);
  const Held own{"a", second.token};
  backend->complete("orders", {&own, 1}, Ack::host, random_uuid(), {&lsn, 1});
  CHECK(lsn.lsn.value != 0);
}

TEST_CASE("each id is accepted once while slices turn under many clients, some with long transactions") {
  const OnServer store(400ms);
  server().run(
      fmt::format("create or replace function {0}.clock() returns timestamptz language sql as "
                  "'select clock_timestamp()'; update {0}.settings set slice_end = {0}.clock()",
                  store.schema));
  constexpr int kIds = 2'000;
  std::atomic<bool> done{false};
  std::atomic<int> fresh{0};
  // Their slices turn every 100 ms, so that an id which is marked again soon must be a duplicate, in whatever slice.
  const auto client = [&](unsigned seed) {
    const auto backend = store.backend();
    std::mt19937 random(seed);
    while (!done) {
      const std::string id = fmt::format("{}-{}", seed / 2, random() % kIds);
      const std::array<Ask, 1> ask{Ask{id}};
      std::array<Answer, 1> first;
      std::array<Answer, 1> second;
      const auto begin = std::chrono::steady_clock::now();
      backend->mark("orders", ask, Ack::host, random_uuid(), first);
      backend->mark("orders", ask, Ack::host, random_uuid(), second);
      if (first[0].marked != Verdict::fresh) continue;  // By now it may be past its retention.
      ++fresh;
      if (std::chrono::steady_clock::now() - begin < 300ms) CHECK(second[0].marked == Verdict::duplicate);
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) threads.emplace_back(client, seed);
  const auto backend = store.backend();
  const std::string turns = "select turns from STORE.settings";
  while (std::stoi(store.ask(turns)) < 60) {
    backend->upkeep();
    std::this_thread::yield();
  }
  done = true;
  threads.clear();
  CHECK(fresh > 0);
}

TEST_CASE("batches of the same ids in different orders do not wait for each other") {
  const OnServer store;
  std::vector<std::string> ids;
  for (int i = 0; i < 300; ++i) ids.push_back(std::to_string(i));
  std::atomic<int> fresh{0};
  const auto client = [&](unsigned seed) {
    const auto backend = store.backend();
    std::mt19937 random(seed);
    for (int round = 0; round < 20; ++round) {
      std::vector<std::string> own;
      for (const std::string& id : ids) own.push_back(fmt::format("{}/{}", round, id));
      std::ranges::shuffle(own, random);
      std::vector<Ask> asked;
      for (const std::string& id : own) asked.push_back({id});
      std::vector<Answer> answers(asked.size());
      backend->mark("orders", asked, Ack::host, random_uuid(), answers);
      for (const Answer& answer : answers) fresh += answer.marked == Verdict::fresh;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned seed = 0; seed < 4; ++seed) threads.emplace_back(client, seed);
  }
  CHECK(fresh == 20 * 300);
}

TEST_CASE("an effect and its mark are committed together, from C++ and from SQL") {
  const OnServer store;
  server().run(fmt::format("create table {}.orders (id text)", store.schema));
  const Store opened = store.open();
  const Scope scope = opened.scope("orders");
  const auto work = [&](Transaction& transaction) {
    CHECK(transaction.mark(scope, "a") == Verdict::fresh);
    PGconn* const connection = remote::connection(transaction);
    REQUIRE(connection != nullptr);
    const std::string sql = fmt::format("insert into {}.orders values ('a')", store.schema);
    PQclear(PQexec(connection, sql.c_str()));
    transaction.put("totals", "orders", "1");
  };
  CHECK_THROWS_AS(opened.transact([&](Transaction& transaction) {
    work(transaction);
    CHECK(scope.mark("a") == Verdict::in_progress);
    throw std::runtime_error("no");
  }),
                  std::runtime_error);
  CHECK(store.ask("select count(*) from STORE.orders") == "0");
  CHECK_FALSE(opened.get("totals", "orders"));
  opened.transact(work);
  CHECK(store.ask("select count(*) from STORE.orders") == "1");
  CHECK(opened.get("totals", "orders") == "1");
  CHECK(scope.mark("a") == Verdict::duplicate);

  const std::string both =
      "do $$ begin if STORE.mark('orders', '{0}') then insert into STORE.orders values ('{0}'); end if; {1} end $$";
  CHECK_THROWS(store.ask(fmt::format(fmt::runtime(both), "b", "raise exception 'no';")));
  CHECK_FALSE(scope.contains("b"));
  store.ask(fmt::format(fmt::runtime(both), "b", ""));
  store.ask(fmt::format(fmt::runtime(both), "b", ""));
  CHECK(store.ask("select count(*) from STORE.orders") == "2");
  CHECK(scope.mark("b") == Verdict::duplicate);
}

TEST_CASE("what cannot be kept is refused with its reason") {
  const OnServer store;
  CHECK_THROWS_WITH(store.ask("begin isolation level repeatable read; select STORE.mark('orders', 'a')"),
                    doctest::Contains("READ COMMITTED"));
  SUBCASE("a schema of a later version") {
    server().run(fmt::format("update {}.settings set version = 1000", store.schema));
    CHECK(error_code_naming(store.schema, [&] { store.open(); }) == ErrorCode::newer_format);
  }
  SUBCASE("another retention") {
    CHECK(error_code_of([&] { store.open({.retention = 2h}); }) == ErrorCode::options_mismatch);
  }
  SUBCASE("a schema that is not there") {
    CHECK(error_code_naming("remote init", [&] { remote::open(server().address("nothing"), {.create = false}); }) ==
          ErrorCode::not_found);
  }
  SUBCASE("a name that is none") {
    CHECK(error_code_of([&] { remote::open(server().address("x; drop table y"), {}); }) == ErrorCode::invalid_argument);
  }
  SUBCASE("a database that is not there") {
    CHECK(error_code_of([&] {
            remote::open(fmt::format("postgresql://postgres@/none?host={}", server().socket_directory().string()), {});
          }) == ErrorCode::not_found);
  }
  SUBCASE("no server") {
    const auto begin = std::chrono::steady_clock::now();
    CHECK(error_code_of([&] { remote::open("postgresql://postgres@/postgres?host=/nowhere", {.timeout = 200ms}); }) ==
          ErrorCode::io);
    CHECK(std::chrono::steady_clock::now() - begin < 2s);
  }
}

TEST_CASE("a schema is made by the first of several that come at once") {
  std::vector<std::jthread> threads;
  std::atomic<int> opened{0};
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      const Store store = remote::open(server().address("made_at_once"), {.retention = 1h});
      opened += store.scope("s").mark("id") == Verdict::fresh;
    });
  }
  threads.clear();
  CHECK(opened == 1);
}
