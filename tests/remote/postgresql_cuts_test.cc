#include <fmt/format.h>
#include <libpq-fe.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/remote.h>

#include "answered.h"
#include "asking.h"
#include "cutting_proxy.h"
#include "postgresql_server.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using internal::remote::Answer;
using internal::remote::Ask;
using internal::remote::Attempt;
using internal::remote::Backend;
using internal::remote::ConnectionLost;
using internal::remote::Stamp;

namespace {

using Direction = CuttingProxy::Direction;

PostgresqlServer& server() {
  static PostgresqlServer server;
  return server;
}

std::string address_in(const std::filesystem::path& directory, const std::string& schema) {
  return fmt::format("postgresql://{}@/postgres?host={}&schema={}", PostgresqlServer::kUser, directory.string(),
                     schema);
}

/// Cuts an exchange after each of its bytes in turn, in both directions, until there is no byte more. `call` is given
/// a word of its own each time, and calls what it is given once its exchange begins.
void cut_everywhere(CuttingProxy& proxy, std::uint64_t step,
                    const std::function<void(const std::string& id, const std::function<void()>& begin)>& call) {
  call("warm-up", [] {});
  for (const Direction direction : {Direction::to_server, Direction::to_client}) {
    std::uint64_t bytes = 0;
    bool cut = true;
    for (; cut; bytes += step) {
      CAPTURE(bytes);
      call((direction == Direction::to_server ? "s" : "c") + std::to_string(bytes),
           [&] { proxy.cut_after(direction, bytes); });
      cut = proxy.take_cut();
    }
    CHECK(bytes > 3 * step);
  }
}

/// A store behind a proxy, with one connection, and the same store without.
struct Proxied {
  TempDir directory;
  CuttingProxy proxy{directory / ".s.PGSQL.5432", server().socket_directory() / ".s.PGSQL.5432"};
  std::string schema = next_schema();
  std::unique_ptr<Backend> direct = open_backend(server().address(schema));
  std::unique_ptr<Backend> store = open_backend(address_in(directory.path(), schema), {.connections = 1});

  static std::string next_schema() {
    static int count = 0;
    return "cuts" + std::to_string(++count);
  }

  void cut_everywhere(std::uint64_t step, const std::function<void(const std::string& id)>& call) {
    ::cut_everywhere(proxy, step, [&](const std::string& id, const std::function<void()>& begin) {
      find_one(*store, "orders", "x");  // There is a connection, and nothing on its way.
      begin();
      call(id);
    });
  }
};

/// Every byte of a mark's exchange; of the longer ones some, which still fall into each of their messages.
std::uint64_t each() {
  return scaled(1, 17);
}
std::uint64_t some() {
  return scaled(7, 31);
}

}  // namespace

TEST_CASE("a mark on PostgreSQL is fresh whatever byte its connection was cut after, and stands once") {
  Proxied proxied;
  proxied.cut_everywhere(each(), [&](const std::string& id) {
    const Attempt attempt = new_attempt();
    const Answer answer =
        answered([&] { return mark_one(*proxied.store, "orders", id, {.correlation = "c"}, attempt); });
    REQUIRE(answer.marked == Verdict::fresh);
    REQUIRE(mark_one(*proxied.direct, "orders", id).marked == Marked{Verdict::duplicate, answer.marked.lsn});
  });
}

TEST_CASE("a batch of marks is decided once whatever byte its connection was cut after, ids twice in it included") {
  Proxied proxied;
  mark_one(*proxied.direct, "orders", "known");
  proxied.cut_everywhere(some(), [&](const std::string& id) {
    const Attempt attempt = new_attempt();
    const std::string other = id + "-other";
    const std::vector<Ask> asked{{id}, {"known"}, {other}, {id}};
    std::vector<Answer> answers(asked.size());
    answered([&] { proxied.store->mark("orders", asked, Ack::host, attempt, answers); });
    REQUIRE(answers[0].marked == Verdict::fresh);
    REQUIRE(answers[1].marked == Verdict::duplicate);
    REQUIRE(answers[2].marked == Verdict::fresh);
    REQUIRE(answers[3].marked == Marked{Verdict::duplicate, answers[0].marked.lsn});
    REQUIRE(find_one(*proxied.direct, "orders", other)->lsn == answers[2].marked.lsn);
  });
}

TEST_CASE("a claim on PostgreSQL is the caller's whatever byte its connection was cut after") {
  Proxied proxied;
  proxied.cut_everywhere(some(), [&](const std::string& id) {
    const Attempt attempt = new_attempt();
    const Answer answer = answered([&] { return claim_one(*proxied.store, "orders", id, {}, attempt); });
    REQUIRE(answer.marked == Verdict::fresh);
    REQUIRE(mark_one(*proxied.direct, "orders", id).marked == Verdict::in_progress);
    REQUIRE(complete_one(*proxied.direct, "orders", id, answer.token).lsn.value != 0);
  });
}

TEST_CASE("a claim on PostgreSQL is completed once whatever byte its connection was cut after") {
  Proxied proxied;
  proxied.cut_everywhere(some(), [&](const std::string& id) {
    const std::uint64_t token = claim_one(*proxied.direct, "orders", id).token;
    const Attempt attempt = new_attempt();
    const Stamp stamp = answered([&] { return complete_one(*proxied.store, "orders", id, token, {}, attempt); });
    REQUIRE(stamp.lsn.value != 0);
    REQUIRE(find_one(*proxied.direct, "orders", id)->lsn == stamp.lsn);
  });
}

TEST_CASE("forgetting and releasing on PostgreSQL say that they did whatever byte their connection was cut after") {
  Proxied proxied;
  proxied.cut_everywhere(some(), [&](const std::string& id) {
    mark_one(*proxied.direct, "orders", id);
    const Attempt attempt = new_attempt();
    REQUIRE(answered([&] { return proxied.store->forget("orders", id, Ack::host, attempt); }));
    REQUIRE_FALSE(find_one(*proxied.direct, "orders", id));
    // What others have done since is not forgotten by the call's being sent once more.
    mark_one(*proxied.direct, "orders", id);
    REQUIRE(answered([&] { return proxied.store->forget("orders", id, Ack::host, attempt); }));
    REQUIRE(find_one(*proxied.direct, "orders", id));
  });
  proxied.cut_everywhere(some(), [&](const std::string& id) {
    claim_one(*proxied.direct, "claims", id);
    const Attempt attempt = new_attempt();
    REQUIRE(answered([&] { return proxied.store->release("claims", id, attempt); }));
    REQUIRE_FALSE(proxied.direct->holder("claims", id));
  });
}

TEST_CASE("a transaction whose connection is cut while it commits has committed or not, and says which") {
  TempDir directory;
  CuttingProxy proxy(directory / ".s.PGSQL.5432", server().socket_directory() / ".s.PGSQL.5432");
  const Store store = oncelog::remote::open(address_in(directory.path(), "commits"), {.retention = 1h});
  const Scope scope = store.scope("orders");
  server().run("create table commits.effects (id text)");
  int committed = 0;
  int rolled_back = 0;
  cut_everywhere(proxy, scaled(23, 61), [&](const std::string& id, const std::function<void()>& begin) {
    bool cuts = true;
    for (bool done = false; !done;) {
      try {
        store.transact([&](Transaction& transaction) {
          // What was rolled back before has left nothing: it is fresh again.
          REQUIRE(transaction.mark(scope, id) == Verdict::fresh);
          PQclear(PQexec(oncelog::remote::connection(transaction),
                         fmt::format("insert into commits.effects values ('{}')", id).c_str()));
          if (std::exchange(cuts, false)) begin();
        });
        done = true;
        ++committed;
      } catch (const Error& error) {
        REQUIRE(std::string(error.what()).find("rolled back") != std::string::npos);
        ++rolled_back;
      }
    }
    REQUIRE(scope.mark(id) == Verdict::duplicate);
  });
  CHECK(rolled_back > 0);
  CHECK(server().ask("select count(*) from commits.effects") == std::to_string(committed));
  CHECK(server().ask("select count(distinct id) from commits.effects") == std::to_string(committed));
}
