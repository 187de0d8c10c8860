#include "base/message_hash.h"

#include <array>
#include <cmath>
#include <string>

#include "support.h"

using namespace oncelog::testing;
using oncelog::internal::MessageHash;
using Of = MessageHash::Of;

TEST_CASE("a hash depends on every byte of the id, on the scope and on the store's seed") {
  const std::uint64_t seed = MessageHash::scope_seed(1, 1);
  const std::uint64_t digest = MessageHash(seed, "order-4711").digest();
  CHECK(MessageHash(seed, "order-4711").digest() == digest);
  CHECK(MessageHash(seed, "order-4712").digest() != digest);
  CHECK(MessageHash(seed, std::string_view("order-4711\0", 11)).digest() != digest);
  CHECK(MessageHash(MessageHash::scope_seed(1, 2), "order-4711").digest() != digest);
  CHECK(MessageHash(MessageHash::scope_seed(2, 1), "order-4711").digest() != digest);
}

TEST_CASE("a hash is the one that stored checksums were made with") {
  const std::uint64_t seed = MessageHash::scope_seed(0x0123456789ABCDEF, 7);
  CHECK(seed == 414955309389507143U);
  CHECK(MessageHash(seed, "order-4711").digest() == 12560343856301547442U);
}

TEST_CASE("the bits of a hash are cut where its layout says") {
  const std::uint64_t seed = 42;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = std::to_string(i);
    const MessageHash hash(seed, id);
    const XXH128_hash_t raw = XXH3_128bits_withSeed(id.data(), id.size(), seed);
    REQUIRE(hash.line(std::uint64_t{1} << 32) == raw.low64 >> 32);
    for (unsigned row = 0; row < MessageHash::kRows; ++row) REQUIRE(hash.row(row) == (raw.low64 >> (5 * row)) % 32);
    REQUIRE(hash.home(std::uint64_t{1} << 40) == raw.high64 >> 24);
    REQUIRE(hash.tag(Of::message) == raw.high64 % (1 << 24) / 2 * 2);
    REQUIRE(hash.tag(Of::correlation) == raw.high64 % (1 << 24) / 2 * 2 + 1);
  }
}

TEST_CASE("lines, rows, homes and tags stay below their limits, and spread evenly") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  constexpr std::uint64_t kCells = 29;  // No power of two.
  const std::uint64_t ids = scaled(290'000, 29'000);
  std::array<std::uint64_t, kCells> lines{};
  std::array<std::uint64_t, kCells> homes{};
  std::array<std::uint64_t, 32> rows{};
  std::array<std::uint64_t, 16> tags{};
  for (std::uint64_t i = 0; i < ids; ++i) {
    const MessageHash hash(seed, std::to_string(i));
    REQUIRE(hash.line(kCells) < kCells);
    REQUIRE(hash.home(kCells) < kCells);
    REQUIRE(hash.tag(Of::message) < std::uint64_t{1} << MessageHash::kTagBits);
    ++lines[hash.line(kCells)];
    ++homes[hash.home(kCells)];
    ++tags[hash.tag(Of::message) >> 20];
    for (unsigned row = 0; row < MessageHash::kRows; ++row) {
      REQUIRE(hash.row(row) < 32);
      ++rows[hash.row(row)];
    }
  }
  // Each count is near a normal of this mean and variance; 7 sigmas are one failure in 10^11.
  const auto even = [](const auto& counts, std::uint64_t throws) {
    const double mean = static_cast<double>(throws) / static_cast<double>(counts.size());
    for (const std::uint64_t count : counts) CHECK(std::abs(static_cast<double>(count) - mean) < 7 * std::sqrt(mean));
  };
  even(lines, ids);
  even(homes, ids);
  even(tags, ids);
  even(rows, ids * MessageHash::kRows);
}
