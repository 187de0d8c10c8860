#include "window/layout.h"

#include <memory>
#include <thread>
#include <vector>

#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

Layout sound_layout() {
  Layout layout;
  layout.bucket_count = 2;
  layout.generation_count = 1;
  layout.generations[0].lines = 512;
  for (unsigned i = 0; i < 2; ++i) {
    layout.buckets[i].lane = i;
    layout.buckets[i].tables = 1;
    layout.buckets[i].slots[0] = 1470;
  }
  return layout;
}

}  // namespace

TEST_CASE("a layout with a count or an index out of bounds is not well formed") {
  CHECK(sound_layout().well_formed());
  const auto formed_after = [](auto change) {
    Layout layout = sound_layout();
    change(layout);
    return layout.well_formed();
  };
  CHECK(formed_after([](Layout& layout) { layout.bucket_count = 0; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.bucket_count = kMaxLiveBuckets + 1; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.bucket_count = ~0U; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.generation_count = 0; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.generation_count = kMaxGenerations + 1; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.generations[0].lines = 0; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.generations[0].lines = (std::uint64_t{1} << 32) + 1; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.buckets[1].lane = kLanes; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.buckets[1].tables = 0; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.buckets[1].tables = kMaxTables + 1; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.buckets[1].slots[0] = 0; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.buckets[1].tables = 2; }));
  CHECK_FALSE(formed_after([](Layout& layout) { layout.buckets[0].slots[0] = ~std::uint64_t{0}; }));
}

TEST_CASE("the live lanes are those of the buckets there are") {
  Layout layout = sound_layout();
  layout.buckets[1].lane = 9;
  layout.buckets[2].lane = 5;  // Not counted.
  CHECK(layout.live_lanes() == (1U << 0 | 1U << 9));
}

TEST_CASE("a published layout is the one in force, and moves the epoch by one") {
  const auto cell = std::make_unique<LayoutCell>();
  const std::uint64_t before = cell->epoch();
  for (unsigned i = 1; i <= 5; ++i) {
    Layout layout = sound_layout();
    layout.next_bucket = i;
    cell->publish(layout);
    std::uint64_t epoch = 0;
    CHECK(cell->read(epoch).next_bucket == i);
    CHECK(epoch == before + i);
    CHECK(cell->epoch() == epoch);
  }
}

TEST_CASE("readers beside a publisher get one layout, never parts of two, and its own epoch") {
  const auto cell = std::make_unique<LayoutCell>();
  const std::uint64_t rounds = scaled(20'000, 2'000);
  const auto layout_of = [](std::uint64_t n) {
    Layout layout;
    layout.next_bucket = layout.drops = layout.spare_generation_lines = n;
    for (BucketInfo& bucket : layout.buckets) bucket.number = bucket.slots[kMaxTables - 1] = n;
    return layout;
  };
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> torn{0};
  std::vector<std::thread> readers;
  for (unsigned r = 0; r < 2; ++r) {
    readers.emplace_back([&] {
      std::uint64_t last = 0;
      bool stop = false;
      while (!stop) {
        stop = done.load(std::memory_order_acquire);
        std::uint64_t epoch = 0;
        const Layout layout = cell->read(epoch);
        if (epoch == 0) continue;
        bool whole = epoch >= last && layout.next_bucket == epoch && layout.drops == epoch &&
                     layout.spare_generation_lines == epoch;
        for (const BucketInfo& bucket : layout.buckets) {
          whole = whole && bucket.number == epoch && bucket.slots[kMaxTables - 1] == epoch;
        }
        if (!whole) torn.fetch_add(1);
        last = epoch;
      }
    });
  }
  for (std::uint64_t n = 1; n <= rounds; ++n) cell->publish(layout_of(n));
  done.store(true, std::memory_order_release);
  for (std::thread& reader : readers) reader.join();
  CHECK(torn.load() == 0);
}
