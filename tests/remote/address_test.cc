#include "remote/address.h"

#include <array>
#include <string>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using internal::remote::Address;
using internal::remote::is_redis_address;
using internal::remote::parse_redis_address;

TEST_CASE("an address says which server, database and prefix") {
  const Address address = parse_redis_address("redis://me:secret@example.org:7000/3?prefix=seen");
  CHECK(address.kind == Address::Kind::server);
  CHECK(address.hosts == std::vector{Address::Host{"example.org", 7000}});
  CHECK(address.user == "me");
  CHECK(address.password == "secret");
  CHECK(address.database == 3);
  CHECK(address.prefix == "seen");
}

TEST_CASE("everything but the host has a default") {
  const Address address = parse_redis_address("redis://example.org");
  CHECK(address.hosts == std::vector{Address::Host{"example.org", 6379}});
  CHECK(address.user.empty());
  CHECK(address.password.empty());
  CHECK(address.database == 0);
  CHECK(address.prefix == "oncelog");
  CHECK(parse_redis_address("redis://example.org/").database == 0);
}

TEST_CASE("a password may come without a user, and is percent-decoded") {
  const Address address = parse_redis_address("redis://:p%40s%3As%2f%3F@h");
  CHECK(address.user.empty());
  CHECK(address.password == "p@s:s/?");
  CHECK(parse_redis_address("redis://u%3a:p@h").user == "u:");
  CHECK(parse_redis_address("redis://:a@b@h").password == "a@b");
}

TEST_CASE("a socket is a path") {
  const Address address = parse_redis_address("redis+unix:///run/a%20b.sock?prefix=p:q&database=2");
  CHECK(address.kind == Address::Kind::socket);
  CHECK(address.socket == "/run/a b.sock");
  CHECK(address.prefix == "p:q");
  CHECK(address.database == 2);
  CHECK(parse_redis_address("redis+unix://u:p@/s").socket == "/s");
  CHECK(parse_redis_address("redis+unix:///run/a@b").socket == "/run/a@b");
}

TEST_CASE("a cluster is several hosts") {
  const Address address = parse_redis_address("redis+cluster://a:1,b,[::1]:3?prefix=x");
  CHECK(address.kind == Address::Kind::cluster);
  CHECK(address.hosts == std::vector{Address::Host{"a", 1}, Address::Host{"b", 6379}, Address::Host{"::1", 3}});
  CHECK(address.name() == "redis+cluster://a:1,b:6379,[::1]:3?prefix=x");
}

TEST_CASE("what an address is called leaves out user and password") {
  CHECK(parse_redis_address("redis://me:secret@h/1").name() == "redis://h:6379/1?prefix=oncelog");
  CHECK(parse_redis_address("redis+unix://me:secret@/s?database=4").name() ==
        "redis+unix:///s?prefix=oncelog&database=4");
  CHECK(parse_redis_address("redis://[fe80::1]:9").name() == "redis://[fe80::1]:9/0?prefix=oncelog");
}

TEST_CASE("a wrong address is refused, and its password is in no sentence") {
  for (const std::string text : {"redis://",
                                 "redis://:secret@",
                                 "redis://u:secret%4@h",
                                 "redis://u:secret%zz@h",
                                 "redis://u:secret%00@h",
                                 "redis://u:secret@h:0",
                                 "redis://u:secret@h:65536",
                                 "redis://u:secret@h:",
                                 "redis://u:secret@h:1x",
                                 "redis://u:secret@h/x",
                                 "redis://u:secret@h/-1",
                                 "redis://u:secret@h/65536",
                                 "redis://u:secret@[::1",
                                 "redis://u:secret@[::1]x",
                                 "redis://u:secret@h?prefix=",
                                 "redis://u:secret@h?prefix=a*",
                                 "redis://u:secret@h?prefix=a%7Bb",
                                 "redis://u:secret@h?schema=a",
                                 "redis://u:secret@h?secret",
                                 "redis://secret@h",
                                 "redis+unix://u:secret@run/s",
                                 "redis+unix://",
                                 "redis+cluster://u:secret@a,,b",
                                 "redis+cluster://u:secret@a,b/2",
                                 "redis+cluster://u:secret@a?database=2",
                                 "rediss://u:secret@h",
                                 "postgresql://u:secret@h",
                                 "secret",
                                 ""}) {
    CAPTURE(text);
    const std::string sentence = error_text_of([&] { parse_redis_address(text); });
    CHECK(sentence.find("secret") == std::string::npos);
    CHECK(error_code_of([&] { parse_redis_address(text); }) == ErrorCode::invalid_argument);
  }
}

TEST_CASE("a prefix has 1 to 64 bytes") {
  CHECK(parse_redis_address("redis://h?prefix=" + std::string(64, 'x')).prefix.size() == 64);
  CHECK_THROWS_AS(parse_redis_address("redis://h?prefix=" + std::string(65, 'x')), Error);
}

TEST_CASE("an address is told from a path by its scheme") {
  CHECK(is_redis_address("redis://h"));
  CHECK(is_redis_address("redis+unix:///s"));
  CHECK(is_redis_address("redis+cluster://a,b"));
  CHECK_FALSE(is_redis_address("postgresql://h"));
  CHECK_FALSE(is_redis_address("/var/lib/redis://x"));
}
