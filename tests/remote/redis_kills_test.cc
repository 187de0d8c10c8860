#include "kills.h"
#include "redis_server.h"

using namespace oncelog;
using namespace oncelog::testing;

TEST_CASE("five hosts and Redis die at random: each id is processed once, and no claim is held twice") {
  RedisServer server({"--appendfsync", "always"}, RedisServer::On::socket, memory_directory());
  process_while_hosts_and_server_die(server, server.address("oncelog"), 20'000);
}
