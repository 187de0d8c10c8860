#include <fmt/format.h>
#include <libpq-fe.h>
#include <pwd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/remote.h>

#include "cutting_proxy.h"
#include "postgresql_server.h"
#include "small_disk.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// A store behind a proxy.
struct Proxied {
  PostgresqlServer server;
  TempDir directory;
  CuttingProxy proxy{directory / ".s.PGSQL.5432", server.socket_directory() / ".s.PGSQL.5432"};

  Store open(const remote::Options& options) const {
    return remote::open(fmt::format("postgresql://{}@/postgres?host={}&schema=oncelog", PostgresqlServer::kUser,
                                    directory.path().string()),
                        options);
  }
};

std::chrono::milliseconds time_of(const std::function<void()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
}

/// Marks once more until it has an answer: the server is coming up, or its disk has just got room.
Verdict mark_at_last(const Scope& scope, const std::string& id) {
  while (true) {
    try {
      return scope.mark(id).verdict;
    } catch (const Error& error) {
      REQUIRE((error.code() == ErrorCode::full || error.code() == ErrorCode::io));
    }
  }
}

/// Bytes that no server makes smaller.
std::string noise(std::size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  for (char& one : text) one = static_cast<char>(random());
  return text;
}

void give_to_server(const std::filesystem::path& path) {
  const passwd* const user = ::getpwnam(PostgresqlServer::kUser);
  REQUIRE(user != nullptr);
  REQUIRE(::chown(path.c_str(), user->pw_uid, user->pw_gid) == 0);
}

}  // namespace

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
  constexpr std::chrono::milliseconds kTimeout = 1500ms;
  constexpr std::chrono::milliseconds kBound = kTimeout + kTimeout / 2;
  PostgresqlServer server;
  const Store store = remote::open(server.address("oncelog"), {.retention = 1h, .timeout = kTimeout});
  const Scope scope = store.scope("orders");
  CHECK(scope.mark("a") == Verdict::fresh);
  Claim claim = scope.begin("c", 1min);
  server.signal(SIGSTOP);
  // Once on a connection that there is, and once on one that is to be made.
  CHECK(time_of([&] { CHECK(error_code_of([&] { scope.mark("b"); }) == ErrorCode::io); }) < kBound);
  CHECK(time_of([&] { CHECK(error_code_of([&] { scope.contains("b"); }) == ErrorCode::io); }) < kBound);
  CHECK(time_of([&] { CHECK(error_code_of([&] { claim.renew(1min); }) == ErrorCode::io); }) < kBound);
  CHECK(time_of([&] { CHECK(error_code_of([&] { store.sync(); }) == ErrorCode::io); }) < kBound);
  CHECK(time_of([&] {
          CHECK(error_code_of([&] {
                  remote::open(server.address("oncelog"), {.retention = 1h, .timeout = kTimeout});
                }) == ErrorCode::io);
        }) < kBound);
  server.signal(SIGCONT);
  // Whether it was marked is not known; asking tells.
  const Verdict verdict = scope.mark("b").verdict;
  CHECK((verdict == Verdict::fresh || verdict == Verdict::duplicate));
  CHECK(scope.mark("a") == Verdict::duplicate);
  CHECK(claim.complete());
}

TEST_CASE("a server that never answers keeps nobody longer than the timeout, in a transaction's end neither") {
  constexpr std::chrono::milliseconds kTimeout = 1500ms;
  constexpr std::chrono::milliseconds kBound = kTimeout + kTimeout / 2;
  Proxied proxied;
  const Store store = proxied.open({.retention = 1h, .timeout = kTimeout});
  const Scope scope = store.scope("orders");
  CHECK(scope.mark("a") == Verdict::fresh);
  CHECK(time_of([&] {
          CHECK(error_code_of([&] {
                  store.transact([&](Transaction& transaction) {
                    CHECK(transaction.mark(scope, "b") == Verdict::fresh);
                    CHECK(transaction.mark(scope, "c") == Verdict::fresh);
                    proxied.proxy.hold(true);
                  });
                }) == ErrorCode::io);
        }) < kBound);
  CHECK(time_of([&] { CHECK(error_code_of([&] { scope.mark("d"); }) == ErrorCode::io); }) < kBound);
  proxied.proxy.hold(false);
  CHECK(mark_at_last(scope, "e") == Verdict::fresh);
  CHECK(scope.mark("a") == Verdict::duplicate);
}

TEST_CASE("a network that is slow makes calls late, never wrong; too slow a one is an error") {
  Proxied proxied;
  const Store store = proxied.open({.retention = 1h, .timeout = 1s});
  const Scope scope = store.scope("orders");
  CHECK(scope.mark("a") == Verdict::fresh);
  proxied.proxy.delay(20ms);
  CHECK(scope.mark("b") == Verdict::fresh);
  CHECK(scope.mark("b") == Verdict::duplicate);
  Claim claim = scope.begin("c", 1min);
  CHECK(claim == Verdict::fresh);
  CHECK(claim.complete());
  proxied.proxy.delay(1200ms);
  CHECK(error_code_of([&] { scope.mark("d"); }) == ErrorCode::io);
  proxied.proxy.delay(0ms);
  const Verdict verdict = mark_at_last(scope, "d");
  CHECK((verdict == Verdict::fresh || verdict == Verdict::duplicate));
  CHECK(scope.mark("c") == Verdict::duplicate);
}

TEST_CASE("PostgreSQL's refusal of a password is named, and the password is in no sentence") {
  PostgresqlServer server;
  server.run("create role keeper login superuser password 'right'");
  std::ofstream(server.data_directory() / "pg_hba.conf") << "local all keeper scram-sha-256\nlocal all all trust\n";
  server.run("select pg_reload_conf()");
  const auto address = [&](const std::string& login) {
    return fmt::format("postgresql://{}@/postgres?host={}&schema=oncelog", login, server.socket_directory().string());
  };
  wait_until([&] {
    return error_code_of([&] { remote::open(address("keeper"), {.timeout = 2s}); }) == ErrorCode::no_permission;
  });
  CHECK(error_code_of([&] { remote::open(address("keeper:wr0ng")); }) == ErrorCode::no_permission);
  CHECK(error_text_of([&] { remote::open(address("keeper:wr0ng")); }).find("wr0ng") == std::string::npos);
  const Store store = remote::open(address("keeper:right"));
  CHECK(store.scope("orders").mark("a") == Verdict::fresh);
}

TEST_CASE("a role that may not write is told so, and reads") {
  PostgresqlServer server;
  const Store store = remote::open(server.address("oncelog"), {.retention = 1h});
  CHECK(store.scope("orders").mark("a") == Verdict::fresh);
  server.run("create role looker login in role oncelog_reader");
  const std::string address =
      fmt::format("postgresql://looker@/postgres?host={}&schema=oncelog", server.socket_directory().string());
  const Store reader = remote::open(address, {.retention = 1h});
  CHECK(reader.scope("orders").contains("a"));
  CHECK(error_code_of([&] { reader.scope("orders").mark("b"); }) == ErrorCode::no_permission);
}

TEST_CASE("a standby is refused for marks and read from, and takes over when it is promoted") {
  PostgresqlServer primary;
  const Store store = remote::open(primary.address("oncelog"), {.retention = 1h});
  const Lsn lsn = store.scope("orders").mark("a", {.correlation = "c"}, Ack::disk).lsn;
  const Claim claim = store.scope("orders").begin("held", 1min);
  PostgresqlServer standby(PostgresqlServer::StandbyOf{primary});
  CHECK(error_code_naming("standby", [&] { remote::open(standby.address("oncelog")); }) == ErrorCode::unsupported);
  const Store reader = remote::open(standby.address("oncelog"), {.read_only = true});
  const Scope orders = reader.scope("orders");
  CHECK(orders.contains("a"));
  CHECK(orders.find("a")->lsn == lsn);
  CHECK(reader.claims().size() == 1);
  CHECK(reader.correlated("c").size() == 1);
  CHECK(reader.known_since() > Time{});
  store.scope("orders").mark("b", Ack::disk);
  wait_until([&] { return orders.contains("b"); });
  CHECK(error_code_of([&] { orders.mark("c"); }) == ErrorCode::read_only);

  primary.kill();
  standby.run("select pg_promote()");
  const Store promoted = remote::open(standby.address("oncelog"), {.retention = 1h});
  CHECK(promoted.scope("orders").mark("a") == Marked{Verdict::duplicate, lsn});
  CHECK(promoted.scope("orders").mark("held") == Verdict::in_progress);
  CHECK(promoted.scope("orders").begin("d", 1min).token() > claim.token());
}

TEST_CASE("a server that takes no writes for a while is asked again until it does") {
  PostgresqlServer server;
  const Store store = remote::open(server.address("oncelog"), {.retention = 1h, .timeout = 60s});
  const Scope scope = store.scope("orders");
  CHECK(scope.mark("a") == Verdict::fresh);
  server.run("alter system set default_transaction_read_only = on");
  server.run("select pg_reload_conf()");
  wait_until([&] { return server.ask("show default_transaction_read_only") == "on"; });
  std::atomic<bool> done{false};
  std::jthread marking([&] {
    CHECK(scope.mark("b", {}, Ack::disk) == Verdict::fresh);
    done = true;
  });
  CHECK(scope.contains("a"));
  CHECK_FALSE(done);
  std::filesystem::remove(server.data_directory() / "postgresql.auto.conf");
  server.run("select pg_reload_conf()");
  marking.join();
  CHECK(done);
}

TEST_CASE("a server whose disk is full for data accepts nothing until there is room again") {
  const SmallDisk disk("6m");
  if (!disk.mounted()) {
    MESSAGE("skipped: it takes the right to mount a file system");
    return;
  }
  PostgresqlServer server;
  give_to_server(disk.path());
  server.run(fmt::format("create tablespace small location '{}'", disk.path()));
  server.run("alter system set default_tablespace = 'small'");
  server.run("select pg_reload_conf()");
  wait_until([&] { return server.ask("show default_tablespace") == "small"; });
  {
    const Store store = remote::open(server.address("oncelog"), {.retention = 1h});
    const Scope scope = store.scope("orders");
    CHECK(scope.mark("a") == Verdict::fresh);
    { std::ofstream(disk / "ballast") << std::string(3'000'000, 'x'); }
    std::vector<std::string> stands;
    ErrorCode code{};
    for (unsigned i = 0; i < 1000 && code == ErrorCode{}; ++i) {
      const std::string id = std::to_string(i);
      const std::string result = noise(50'000, i);
      try {
        const Verdict verdict = scope.mark(id, {.result = result}).verdict;
        CHECK(verdict == Verdict::fresh);
        stands.push_back(id);
      } catch (const Error& error) {
        code = error.code();
        CAPTURE(error.what());
        CHECK(std::string(error.what()).find("could not extend file") != std::string::npos);
      }
    }
    CHECK(code == ErrorCode::full);
    CHECK(scope.mark("a") == Verdict::duplicate);
    for (const std::string& id : stands) CHECK(scope.contains(id));
    CHECK_FALSE(scope.contains(std::to_string(stands.size())));
    std::filesystem::remove(disk / "ballast");
    CHECK(scope.mark(std::to_string(stands.size()), {.result = noise(50'000, 0)}) == Verdict::fresh);
    for (const std::string& id : stands) CHECK(scope.mark(id) == Verdict::duplicate);
  }
  server.stop();  // Before its disk goes.
}

TEST_CASE("a server whose disk is full for its log dies, and has lost nothing that was on disk when it has room") {
  const SmallDisk disk("40m");
  if (!disk.mounted()) {
    MESSAGE("skipped: it takes the right to mount a file system");
    return;
  }
  PostgresqlServer server;
  std::vector<std::string> stands;
  {
    const Store store = remote::open(server.address("oncelog"), {.retention = 1h, .timeout = 2s});
    const Scope scope = store.scope("orders");
    server.stop();
    const std::filesystem::path log = server.data_directory() / "pg_wal";
    bench::run_program({"/bin/cp", "-a", log, disk / "wal"}, "", disk / "output");
    std::filesystem::remove_all(log);
    std::filesystem::create_symlink(disk / "wal", log);
    server.start();
    { std::ofstream(disk / "ballast") << std::string(18'000'000, 'x'); }
    ErrorCode code{};
    for (unsigned i = 0; i < 1000 && code == ErrorCode{}; ++i) {
      const std::string id = std::to_string(i);
      const std::string result = noise(200'000, i);
      try {
        const Verdict verdict = scope.mark(id, {.result = result}, Ack::disk).verdict;
        CHECK(verdict == Verdict::fresh);
        stands.push_back(id);
      } catch (const Error& error) {
        code = error.code();
      }
    }
    CHECK((code == ErrorCode::io || code == ErrorCode::full));
    CHECK_FALSE(stands.empty());
    server.kill();
    std::filesystem::remove(disk / "ballast");
    server.start();
    for (const std::string& id : stands) CHECK(scope.contains(id));
    CHECK(mark_at_last(scope, "afterwards") == Verdict::fresh);
    for (const std::string& id : stands) CHECK(scope.mark(id) == Verdict::duplicate);
  }
  server.stop();
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
