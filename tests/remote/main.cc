#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include ONCELOG_TEST_SERVER

/// Exit code 77 says that the tests were skipped, and why.
int main(int argc, char** argv) {
  if (const char* const missing = oncelog::testing::missing_server()) {
    std::printf("%s\n", missing);
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
