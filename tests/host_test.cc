#include "base/host.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "support.h"

using namespace oncelog::internal;

TEST_CASE("the boot id is the kernel's") {
  std::string text;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), text);
  std::erase(text, '-');
  std::string hex;
  for (const std::uint8_t byte : Host::system().boot_id()) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  CHECK(hex == text);
}

TEST_CASE("the wall clock counts from 1970, and the boot clock never goes back") {
  const Host& host = Host::system();
  constexpr std::int64_t kYear2020 = 1'577'836'800'000'000;
  constexpr std::int64_t kYear2100 = 4'102'444'800'000'000;
  CHECK(host.wall_us() > kYear2020);
  CHECK(host.wall_us() < kYear2100);
  std::int64_t last = host.boot_us();
  CHECK(last > 0);
  for (int i = 0; i < 10'000; ++i) {
    const std::int64_t now = host.boot_us();
    REQUIRE(now >= last);
    last = now;
  }
}

TEST_CASE("random bytes fill all that is asked for, and no two ids are alike") {
  std::vector<std::uint8_t> bytes(100'000);
  fill_random(bytes.data(), bytes.size());
  std::vector<int> counts(256);
  for (const std::uint8_t byte : bytes) ++counts[byte];
  CHECK(std::ranges::min(counts) > 200);  // 391 on average, with a standard deviation of 20.
  CHECK(std::ranges::max(counts) < 600);
  std::set<Uuid> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(random_uuid());
  CHECK(ids.size() == 1000);
}
