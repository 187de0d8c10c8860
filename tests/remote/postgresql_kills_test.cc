#include "asking.h"
#include "kills.h"
#include "postgresql_server.h"

using namespace oncelog;
using namespace oncelog::testing;

TEST_CASE("five hosts and PostgreSQL die at random: each id is processed once, and no claim is held twice") {
  PostgresqlServer server;
  process_while_hosts_and_server_die(server, server.address("oncelog"), 10'000);
}

TEST_CASE("what is answered to who waits for the disk survives the server's death, also what was only found") {
  PostgresqlServer server({"wal_writer_delay=10s"});  // What waits for no disk goes there late.
  const std::string address = server.address("oncelog");
  {
    const auto one = open_backend(address);
    const auto other = open_backend(address);
    CHECK(mark_one(*one, "orders", "found").marked == Verdict::fresh);
    CHECK(mark_one(*other, "orders", "found", {}, new_attempt(), Ack::disk).marked == Verdict::duplicate);
    CHECK(mark_one(*one, "orders", "lost").marked == Verdict::fresh);
    server.kill();
  }
  server.start();
  const auto again = open_backend(address);
  CHECK(mark_one(*again, "orders", "found").marked == Verdict::duplicate);
  CHECK(mark_one(*again, "orders", "lost").marked == Verdict::fresh);  // Or else this shows nothing.
}
