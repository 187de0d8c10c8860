#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "redis_server.h"

/// Exit code 77 says that the tests were skipped, and why.
int main(int argc, char** argv) {
  if (!oncelog::testing::RedisServer::available()) {
    std::puts("redis-server is not installed");
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
