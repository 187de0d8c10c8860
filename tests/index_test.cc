#include "window/index.h"

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support.h"

using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

IndexTable make_table(const TempDir& dir, std::uint64_t slots) {
  return {MappedFile::create(dir / "index", IndexTable::file_bytes(slots)), slots};
}

constexpr auto kMessage = MessageHash::Of::message;

MessageHash hash_of(std::uint64_t id) {
  return {11, std::to_string(id)};
}

constexpr auto kCorrelation = MessageHash::Of::correlation;

std::multiset<std::uint64_t> offsets(const IndexTable& table, const MessageHash& hash, MessageHash::Of of = kMessage) {
  std::multiset<std::uint64_t> all;
  table.each(hash, of, [&](std::uint64_t offset) { all.insert(offset); });
  return all;
}

}  // namespace

TEST_CASE("a slot keeps its tag and its offset, and is never the empty one") {
  constexpr std::uint64_t kMaxTag = (1U << MessageHash::kTagBits) - 1;
  for (const std::uint64_t tag : {std::uint64_t{0}, std::uint64_t{1}, kMaxTag}) {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, Slot::kMaxOffset}) {
      const Slot slot = Slot::of(tag, offset);
      CHECK_FALSE(slot.empty());
      CHECK(slot.tag() == tag);
      CHECK(slot.offset() == offset);
    }
  }
  CHECK(Slot{}.empty());
}

TEST_CASE("a table whose count is damaged is full, not empty") {
  const TempDir dir;
  constexpr std::uint64_t kSlots = 100;
  const IndexTable table = make_table(dir, kSlots);
  CHECK_FALSE(table.full());
  const auto file = MappedFile::open(dir / "index", IndexTable::file_bytes(kSlots));
  // The count is at its place when one insertion changes it.
  IndexTable again(std::move(*MappedFile::open(dir / "index", IndexTable::file_bytes(kSlots))), kSlots);
  again.insert(hash_of(1), kMessage, 1);
  REQUIRE(table.count() == 1);
  constexpr std::size_t kCount = 128;
  REQUIRE(file->data()[kCount] == std::byte{1});
  for (std::size_t i = 0; i < 8; ++i) file->data()[kCount + i] = std::byte{0xFF};
  CHECK(table.full());
}

TEST_CASE("a table takes ids until it is 75% full, and finds every one") {
  const TempDir dir;
  constexpr std::uint64_t kSlots = 1470;
  IndexTable table = make_table(dir, kSlots);
  std::uint64_t ids = 0;
  while (table.insert(hash_of(ids), kMessage, ids)) ++ids;
  CHECK(table.full());
  CHECK(ids == IndexTable::capacity_of(kSlots));
  CHECK(table.count() == ids);
  CHECK(ids * 4 <= kSlots * 3);
  for (std::uint64_t id = 0; id < ids; ++id) REQUIRE(offsets(table, hash_of(id)).contains(id));
  // 24 bits of tag: of the fresh ids hardly one may be taken for a known one.
  std::uint64_t false_hints = 0;
  for (std::uint64_t id = ids; id < ids + 10'000; ++id) false_hints += offsets(table, hash_of(id)).size();
  CHECK(false_hints < 10);
}

TEST_CASE("several records of one id are all found") {
  const TempDir dir;
  IndexTable table = make_table(dir, 100);
  for (const std::uint64_t offset : {5U, 900U, 70U}) REQUIRE(table.insert(hash_of(1), kMessage, offset));
  CHECK(offsets(table, hash_of(1)) == std::multiset<std::uint64_t>{5, 70, 900});
  CHECK(offsets(table, hash_of(2)).empty());
}

TEST_CASE("ids whose home is the last slot go on at the first") {
  const TempDir dir;
  constexpr std::uint64_t kSlots = 64;
  IndexTable table = make_table(dir, kSlots);
  std::vector<std::uint64_t> last;
  for (std::uint64_t id = 0; last.size() < 5; ++id) {
    if (hash_of(id).home(kSlots) == kSlots - 1) last.push_back(id);
  }
  for (const std::uint64_t id : last) REQUIRE(table.insert(hash_of(id), kMessage, id));
  for (const std::uint64_t id : last) CHECK(offsets(table, hash_of(id)).contains(id));
}

TEST_CASE("a message and a correlation of one hash keep their entries apart") {
  const TempDir dir;
  IndexTable table = make_table(dir, 100);
  REQUIRE(table.insert(hash_of(1), kMessage, 5));
  REQUIRE(table.insert(hash_of(1), kCorrelation, 6));
  CHECK(offsets(table, hash_of(1), kMessage) == std::multiset<std::uint64_t>{5});
  CHECK(offsets(table, hash_of(1), kCorrelation) == std::multiset<std::uint64_t>{6});
}

TEST_CASE("an entry that is moved names its new record, and every other one stays") {
  const TempDir dir;
  constexpr std::uint64_t kSlots = 64;
  IndexTable table = make_table(dir, kSlots);
  std::vector<std::uint64_t> last;  // Their search goes on over the table's end.
  for (std::uint64_t id = 0; last.size() < 5; ++id) {
    if (hash_of(id).home(kSlots) == kSlots - 1) last.push_back(id);
  }
  for (const std::uint64_t id : last) {
    REQUIRE(table.insert(hash_of(id), kMessage, 100));
    REQUIRE(table.insert(hash_of(id), kCorrelation, 100));
    REQUIRE(table.insert(hash_of(id), kCorrelation, 200));
  }
  const std::uint64_t count = table.count();
  for (std::size_t i = 0; i < last.size(); ++i) {
    CHECK(table.move(hash_of(last[i]), kCorrelation, 100, 300));
    for (std::size_t j = 0; j < last.size(); ++j) {
      CHECK(offsets(table, hash_of(last[j]), kMessage) == std::multiset<std::uint64_t>{100});
      const std::uint64_t first = j <= i ? 300 : 100;
      CHECK(offsets(table, hash_of(last[j]), kCorrelation) == std::multiset<std::uint64_t>{200, first});
    }
  }
  CHECK(table.count() == count);
}

TEST_CASE("an entry that is not there is not moved, in a table that is full either") {
  const TempDir dir;
  IndexTable table = make_table(dir, 64);
  REQUIRE(table.insert(hash_of(1), kCorrelation, 5));
  const auto moves_nothing = [&] {
    CHECK_FALSE(table.move(hash_of(1), kCorrelation, 6, 7));
    CHECK_FALSE(table.move(hash_of(1), kMessage, 5, 7));
    CHECK_FALSE(table.move(hash_of(2), kCorrelation, 5, 7));
    CHECK(offsets(table, hash_of(1), kCorrelation) == std::multiset<std::uint64_t>{5});
  };
  moves_nothing();
  for (std::uint64_t id = 100; table.insert(hash_of(id), kMessage, id); ++id) {
  }
  moves_nothing();
  CHECK(table.move(hash_of(1), kCorrelation, 5, 6));  // Needs no room.
  CHECK(offsets(table, hash_of(1), kCorrelation) == std::multiset<std::uint64_t>{6});
}

TEST_CASE("a table is full while the two entries of one more record would not fit") {
  const TempDir dir;
  IndexTable table = make_table(dir, 64);
  const std::uint64_t capacity = IndexTable::capacity_of(64);
  for (std::uint64_t id = 0; id < capacity; ++id) {
    CHECK(table.full() == (id + 2 > capacity));
    CHECK(table.full(3) == (id + 6 > capacity));
    REQUIRE(table.insert(hash_of(id), kMessage, id));
  }
  CHECK(table.full());
  CHECK_FALSE(table.insert(hash_of(capacity), kMessage, 0));
}

TEST_CASE("records are counted by themselves, beside entries") {
  const TempDir dir;
  IndexTable table = make_table(dir, 64);
  table.insert(hash_of(1), kMessage, 1);
  table.insert(hash_of(1), kCorrelation, 1);
  CHECK(table.records() == 0);
  table.count_record();
  CHECK(table.records() == 1);
  CHECK(table.count() == 2);
}

TEST_CASE("a table planned for so many ids takes them all, with room to make the next one") {
  for (const std::uint64_t ids : {1U, 7U, 1024U, 4096U, 1'000'003U}) {
    const std::uint64_t slots = IndexTable::slots_for(ids);
    CHECK(IndexTable::planned_of(slots) >= ids);
    CHECK(IndexTable::capacity_of(slots) >= IndexTable::planned_of(slots));
    CHECK(IndexTable::planned_of(slots) < ids + 16);
  }
}

TEST_CASE("readers find every id that was inserted before they looked") {
  const TempDir dir;
  const std::uint64_t ids = scaled(100'000, 10'000);
  IndexTable table = make_table(dir, IndexTable::slots_for(ids));
  std::atomic<std::uint64_t> inserted{0};
  std::atomic<std::uint64_t> missed{0};
  std::vector<std::thread> readers;
  for (unsigned r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      std::uint64_t at = r;
      for (std::uint64_t known = 0; known < ids;) {
        known = inserted.load(std::memory_order_acquire);
        if (known == 0) continue;
        at = (at * 31 + 17) % known;
        for (const std::uint64_t id : {at, known - 1}) {
          if (!offsets(table, hash_of(id)).contains(id)) missed.fetch_add(1);
        }
      }
    });
  }
  for (std::uint64_t id = 0; id < ids; ++id) {
    table.insert(hash_of(id), kMessage, id);
    inserted.store(id + 1, std::memory_order_release);
  }
  for (std::thread& reader : readers) reader.join();
  CHECK(missed.load() == 0);
}
