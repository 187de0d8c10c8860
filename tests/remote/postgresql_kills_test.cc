#include "kills.h"
#include "postgresql_server.h"

using namespace oncelog;
using namespace oncelog::testing;

TEST_CASE("five hosts and PostgreSQL die at random: each id is processed once, and no claim is held twice") {
  PostgresqlServer server;
  process_while_hosts_and_server_die(server, server.address("oncelog"), 10'000);
}
