#include <fmt/format.h>

#include <atomic>
#include <fstream>
#include <thread>

#include <oncelog/remote.h>

#include "postgresql_server.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// PgBouncer in front of a server, which gives each transaction one of two connections.
class Pooler {
 public:
  explicit Pooler(const PostgresqlServer& server) {
    const std::filesystem::path config = directory_ / "pgbouncer.ini";
    std::ofstream(config) << fmt::format(
        "[databases]\npostgres = host={} user={}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {}\nlisten_port = "
        "6432\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 100\n",
        server.socket_directory().string(), PostgresqlServer::kUser, directory_.path().string());
    std::filesystem::permissions(directory_.path(), std::filesystem::perms::all);
    pooler_.start({bench::find_program("pgbouncer", {"/usr/sbin"}), config}, PostgresqlServer::kUser,
                  directory_ / "log");
    wait_until([&] {
      pooler_.expect_alive();
      return std::filesystem::exists(directory_ / ".s.PGSQL.6432");
    });
  }

  static bool available() { return !bench::find_program("pgbouncer", {"/usr/sbin"}).empty(); }
  std::string address() const {
    return fmt::format("postgresql://{}@/postgres?host={}&port=6432&schema=oncelog", PostgresqlServer::kUser,
                       directory_.path().string());
  }

 private:
  TempDir directory_;
  bench::Server pooler_;
};

}  // namespace

TEST_CASE("a store works through a pooler whose clients share the server's connections by transactions") {
  if (!Pooler::available()) {
    MESSAGE("skipped: pgbouncer is not installed");
    return;
  }
  const PostgresqlServer server;
  const Pooler pooler(server);
  const Store store = remote::open(pooler.address(), {.retention = 1h, .timeout = 30s});
  std::atomic<int> fresh{0};
  std::atomic<int> processed{0};
  const auto consume = [&] {
    const Scope scope = store.scope("orders");
    for (int i = 0; i < 100; ++i) {
      fresh += scope.mark(fmt::format("mark {}", i)) == Verdict::fresh;
      if (Claim claim = scope.begin(fmt::format("claim {}", i), 1min); claim == Verdict::fresh) {
        processed += claim.complete({.result = "done"}, Ack::disk).in_time;
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 6; ++i) threads.emplace_back(consume);
  }
  CHECK(fresh == 100);
  CHECK(processed == 100);
  const Scope scope = store.scope("orders");
  store.transact([&](Transaction& transaction) {
    transaction.mark(scope, "in a transaction");
    transaction.put("totals", "orders", "201");
  });
  CHECK(scope.contains("in a transaction"));
  CHECK(store.get("totals", "orders") == "201");
  int scanned = 0;
  store.scan({}, [&](const Record&) { return ++scanned > 0; });
  CHECK(scanned == 201);
}
