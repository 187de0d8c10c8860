#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include <oncelog/remote.h>

#include "postgresql_server.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

TEST_CASE("while the server dies again and again, no own mark is told as a duplicate, and none on disk is lost") {
  PostgresqlServer server;
  constexpr int kThreads = 3;
  constexpr int kRestarts = 4;
  std::atomic<bool> done{false};
  std::atomic<int> marked{0};
  std::vector<std::vector<std::string>> stands(kThreads);
  const Store store = remote::open(server.address("oncelog"), {.retention = 1h, .timeout = 60s});
  const auto client = [&](int thread) {
    const Scope scope = store.scope("orders");
    for (int i = 0; !done; ++i) {
      const std::string id = fmt::format("{}-{}", thread, i);
      CHECK(scope.mark(id, {}, Ack::disk) == Verdict::fresh);
      stands[static_cast<std::size_t>(thread)].push_back(id);
      ++marked;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back(client, i);
    for (int restart = 0; restart < kRestarts; ++restart) {
      const int before = marked;
      wait_until([&] { return marked >= before + 100; });
      server.kill();
      server.start();
    }
    done = true;
  }
  const Scope scope = store.scope("orders");
  for (const auto& ids : stands) {
    for (const std::string& id : ids) CHECK(scope.contains(id));
  }
}

TEST_CASE("a server that stands still keeps nobody longer than the timeout") {
  PostgresqlServer server;
  const Store store = remote::open(server.address("oncelog"), {.retention = 1h, .timeout = 300ms});
  const Scope scope = store.scope("orders");
  CHECK(scope.mark("a") == Verdict::fresh);
  server.signal(SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(error_code_of([&] { scope.mark("b"); }) == ErrorCode::io);
  CHECK(std::chrono::steady_clock::now() - begin < 2s);
  server.signal(SIGCONT);
  // Whether it was marked is not known; asking tells.
  const Verdict verdict = scope.mark("b").verdict;
  CHECK((verdict == Verdict::fresh || verdict == Verdict::duplicate));
  CHECK(scope.mark("a") == Verdict::duplicate);
}

TEST_CASE("tokens grow over a crash of the server") {
  PostgresqlServer server;
  const Store store = remote::open(server.address("oncelog"), {.retention = 1h, .timeout = 60s});
  const Scope scope = store.scope("orders");
  std::uint64_t last = 0;
  for (int restart = 0; restart < 3; ++restart) {
    for (int i = 0; i < 50; ++i) {
      const Claim claim = scope.begin("a", 1min);
      REQUIRE(claim == Verdict::fresh);
      CHECK(claim.token() > last);
      last = claim.token();
    }
    server.kill();
    server.start();
  }
}
