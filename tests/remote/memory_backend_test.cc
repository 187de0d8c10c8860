#include "memory_backend.h"

#include <array>
#include <vector>

#include "asking.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using std::chrono::microseconds;

TEST_CASE("a call that is repeated with its attempt answers as it did the first time") {
  MemoryBackend server;
  const auto marking = new_attempt();
  const auto first = mark_one(server, "orders", "a", {}, marking);
  CHECK(first.marked == Verdict::fresh);
  CHECK(shown(mark_one(server, "orders", "a", {}, marking)) == shown(first));
  CHECK(mark_one(server, "orders", "a").marked == Verdict::duplicate);

  const auto claiming = new_attempt();
  const auto claim = claim_one(server, "orders", "b", {}, claiming);
  CHECK(claim.token != 0);
  CHECK(shown(claim_one(server, "orders", "b", {}, claiming)) == shown(claim));
  CHECK(claim_one(server, "orders", "b").marked == Verdict::in_progress);

  const auto completing = new_attempt();
  const auto stamp = complete_one(server, "orders", "b", claim.token, {}, completing);
  CHECK(stamp.lsn.value != 0);
  CHECK(complete_one(server, "orders", "b", claim.token, {}, completing) == stamp);
  CHECK(complete_one(server, "orders", "b", claim.token) == remote::Stamp{});

  const auto forgetting = new_attempt();
  CHECK(server.forget("orders", "b", Ack::host, forgetting));
  CHECK(server.forget("orders", "b", Ack::host, forgetting));
  CHECK_FALSE(server.forget("orders", "b", Ack::host, new_attempt()));

  CHECK(claim_one(server, "orders", "b").token != 0);
  const auto releasing = new_attempt();
  CHECK(server.release("orders", "b", releasing));
  CHECK(server.release("orders", "b", releasing));
  CHECK_FALSE(server.release("orders", "b", new_attempt()));
}

TEST_CASE("an id that repeats in a batch is a duplicate, and in progress to another attempt in it") {
  MemoryBackend server;
  const auto one = new_attempt();
  const auto other = new_attempt();
  const std::array<remote::Ask, 3> asked{{{"a"}, {"a"}, {"a", nullptr, &other}}};
  std::array<remote::Answer, 3> answers;
  const auto verdicts = [&] {
    std::vector<Verdict> all;
    for (const auto& answer : answers) all.push_back(answer.marked.verdict);
    return all;
  };
  using enum Verdict;
  for (int again = 0; again < 2; ++again) {
    server.mark("marked", asked, Ack::host, one, answers);
    CHECK(verdicts() == std::vector{fresh, duplicate, duplicate});
    server.claim("claimed", asked, {1min}, one, answers);
    CHECK(verdicts() == std::vector{fresh, duplicate, in_progress});
  }
}

TEST_CASE("a record is a duplicate until its retention is over by the server's clock") {
  MemoryBackend server({.retention = 10s});
  mark_one(server, "orders", "a");
  server.advance(10s - 1us);
  CHECK(mark_one(server, "orders", "a").marked == Verdict::duplicate);
  server.advance(1us);
  CHECK(mark_one(server, "orders", "a").marked == Verdict::fresh);
}

TEST_CASE("a lost call has been done or not, as was ordered") {
  MemoryBackend server;
  server.lose(MemoryBackend::Lost::before);
  CHECK_THROWS_AS(mark_one(server, "orders", "a"), remote::ConnectionLost);
  CHECK(mark_one(server, "orders", "a").marked == Verdict::fresh);
  server.lose(MemoryBackend::Lost::after, 1);
  CHECK(mark_one(server, "orders", "a").marked == Verdict::duplicate);
  CHECK_THROWS_AS(mark_one(server, "orders", "b"), remote::ConnectionLost);
  CHECK(mark_one(server, "orders", "b").marked == Verdict::duplicate);
}

TEST_CASE("what a transaction completes and its tables are there after its commit, and not without one") {
  MemoryBackend server;
  const auto complete = [](remote::Work& work, std::uint64_t token) {
    const remote::Held held{"a", token};
    remote::Stamp made;
    work.complete("orders", {&held, 1}, {&made, 1});
    return made.lsn.value != 0;
  };
  {
    const std::uint64_t token = claim_one(server, "orders", "a").token;
    const auto work = server.begin_work();
    CHECK(complete(*work, token));
    CHECK_FALSE(complete(*work, token + 1));
    work->put("state", "key", "value");
    CHECK(mark_one(server, "orders", "a").marked == Verdict::in_progress);
  }
  CHECK(server.get("state", "key") == std::nullopt);
  {
    const std::uint64_t token = claim_one(server, "orders", "a").token;
    const auto work = server.begin_work();
    CHECK(complete(*work, token));
    work->put("state", "key", "value");
    work->commit();
  }
  CHECK(server.get("state", "key") == "value");
  CHECK(mark_one(server, "orders", "a").marked == Verdict::duplicate);
}
