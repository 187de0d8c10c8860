#include "log/block_directory.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

// What blocks lie in: their bytes are not looked at.
std::array<std::byte, 4096> memory;

lmdb::Bytes bytes_of(std::size_t size) {
  return std::span(memory).first(size);
}

}  // namespace

TEST_CASE("an empty table knows nothing") {
  const BlockTable table(1, 4);
  CHECK_FALSE(table.find(Lsn{0}));
  CHECK_FALSE(table.find(Lsn{8}));
  CHECK(table.last() == Lsn{0});
  CHECK(table.count_from(Lsn{0}) == 0);
}

TEST_CASE("an LSN is found in the block that holds it, and nowhere else") {
  std::mt19937_64 random(std::random_device{}());
  for (std::size_t blocks = 1; blocks < 70; ++blocks) {
    CAPTURE(blocks);
    BlockTable table(1, blocks);
    std::map<std::uint64_t, std::size_t> plain;
    std::uint64_t at = 8 * (1 + random() % 3);
    for (std::size_t i = 0; i < blocks; ++i) {
      const std::size_t size = random() % 4 == 0 ? 0 : 8 * (1 + random() % 4);  // Of 0: one that may move.
      REQUIRE(table.append(Lsn{at}, bytes_of(size)));
      plain[at] = size;
      at += 8 * (4 + random() % 3);
    }
    CHECK(table.count() ==
          static_cast<std::size_t>(std::ranges::count_if(plain, [](const auto& one) { return one.second != 0; })));
    CHECK(table.last().value == plain.rbegin()->first);
    for (std::uint64_t lsn = 0; lsn < at + 16; lsn += 8) {
      CAPTURE(lsn);
      auto block = plain.upper_bound(lsn);
      const bool before = block == plain.begin();
      if (!before) --block;
      const bool inside = !before && lsn - block->first < block->second;
      const auto place = table.find(Lsn{lsn});
      REQUIRE(place.has_value() == inside);
      if (!inside) continue;
      REQUIRE(place->block.value == block->first);
      REQUIRE(place->bytes.data() == memory.data() + (lsn - block->first));
      REQUIRE(place->bytes.size() == block->second - (lsn - block->first));
    }
  }
}

TEST_CASE("blocks of the log's sizes are found, with gaps and in a log as long as can be") {
  static std::array<std::byte, 65'520> block;
  std::mt19937_64 random(std::random_device{}());
  constexpr std::size_t kBlocks = 5000;
  BlockTable table(1, kBlocks);
  std::vector<std::pair<std::uint64_t, std::size_t>> plain;
  std::uint64_t at = 8;
  while (plain.size() < kBlocks) {
    const std::size_t size = random() % 3 == 0 ? 8 * (1 + random() % 8190) : block.size();
    REQUIRE(table.append(Lsn{at}, std::span(block).first(size)));
    plain.emplace_back(at, size);
    at += random() % 50 == 0 ? 8 * (random() % (std::uint64_t{1} << (random() % 50))) : 0;
    at += size;
  }
  for (int i = 0; i < 200'000; ++i) {
    const auto& [lsn, size] = plain[random() % kBlocks];
    const std::uint64_t offset = random() % size / 8 * 8;
    const auto place = table.find(Lsn{lsn + offset});
    REQUIRE(place);
    REQUIRE(place->block.value == lsn);
    REQUIRE(place->bytes.size() == size - offset);
    if (const auto next = std::ranges::upper_bound(plain, lsn, {}, [](const auto& one) { return one.first; });
        next != plain.end() && next->first > lsn + size) {
      REQUIRE_FALSE(table.find(Lsn{next->first - 8}));
    }
  }
}

TEST_CASE("a block that does not come after the last one is refused") {
  BlockTable table(1, 4);
  CHECK(table.append(Lsn{64}, bytes_of(8)));
  CHECK_FALSE(table.append(Lsn{64}, bytes_of(8)));
  CHECK_FALSE(table.append(Lsn{56}, bytes_of(8)));
  CHECK(table.count() == 1);
}

TEST_CASE("a larger table takes over the blocks from an LSN on") {
  BlockTable small(1, 4);
  for (std::uint64_t lsn = 8; lsn <= 32; lsn += 8) REQUIRE(small.append(Lsn{lsn}, bytes_of(8)));
  CHECK(small.count_from(Lsn{0}) == 4);
  CHECK(small.count_from(Lsn{16}) == 3);
  CHECK(small.count_from(Lsn{40}) == 0);
  BlockTable large(1, 8);
  large.append_from(small, Lsn{16});
  CHECK(large.count() == 3);
  CHECK_FALSE(large.find(Lsn{8}));
  CHECK(large.find(Lsn{16}));
  CHECK(large.last() == Lsn{32});
}
