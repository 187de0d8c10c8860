#include "log/ring.h"

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/message_hash.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

constexpr std::uint64_t kBytes = std::uint64_t{64} << 10;
constexpr std::uint64_t kSeed = 5;

struct TestRing {
  explicit TestRing(Lsn start) : words(kBytes / kRecordUnit), ring(words.data(), kBytes, start, marks, cap) {
    marks.head = start.value;
    marks.writing = start.value;
    marks.flushed = start.value;
  }

  /// Writes a record at head and accepts it.
  Lsn push(std::string_view id) {
    const Lsn lsn{marks.head.load(std::memory_order_relaxed)};
    RecordBuffer buffer;
    ring.write(lsn, encode_record(buffer, {.scope = 1, .id = id, .digest = MessageHash(kSeed, id).digest()}, lsn, 1));
    marks.head.store(lsn.value + record_bytes(id.size()), std::memory_order_release);
    return lsn;
  }

  std::vector<std::atomic<std::uint64_t>> words;
  Watermarks marks{};
  std::atomic<std::uint64_t> cap = 0;
  Ring ring;
};

/// The record of this size at `lsn`, if the ring still has it. Fails when what it gives is not intact.
std::optional<std::string> read(const Ring& ring, Lsn lsn, std::size_t id_bytes) {
  RecordBuffer buffer;
  const auto words = std::span(buffer).first(record_bytes(id_bytes) / kRecordUnit);
  if (!ring.read(lsn, words)) return std::nullopt;
  const auto record = decode_record(std::as_bytes(words));
  if (!record || !record->intact(lsn, MessageHash(kSeed, record->id).digest())) return "damaged";
  return std::string(record->id);
}

}  // namespace

TEST_CASE("a ring of 64 KiB gives back ids of 1 to 1024 bytes until they are written over, and never anything else") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const Lsn start{kRecordUnit * (random() % 10'000 + 1)};
  TestRing test(start);
  struct Known {
    Lsn lsn;
    std::string id;
  };
  std::deque<Known> known;
  std::uint64_t wraps = 0;
  for (std::uint64_t i = 0; i < scaled(20'000, 2'000); ++i) {
    std::string id(random() % kMaxIdBytes + 1, static_cast<char>('a' + i % 26));
    const Lsn lsn = test.push(id);
    known.push_back({lsn, std::move(id)});
    const std::uint64_t head = test.marks.head;
    wraps = (head - start.value) / kBytes;
    while (known.front().lsn.value + 2 * kBytes < head) known.pop_front();
    if (i % 100 != 0) continue;
    for (const Known& one : known) {
      const auto found = read(test.ring, one.lsn, one.id.size());
      const bool held = one.lsn.value + kBytes >= head;
      REQUIRE(test.ring.holds(one.lsn) == held);
      REQUIRE(found.has_value() == held);
      if (found) REQUIRE(*found == one.id);
    }
  }
  CHECK(wraps > 3);
}

TEST_CASE("a ring holds nothing from before it began") {
  const TestRing test(Lsn{8000});
  CHECK(test.ring.holds(Lsn{8000}));
  CHECK_FALSE(test.ring.holds(Lsn{7992}));
  std::uint64_t word = 0;
  CHECK_FALSE(test.ring.read(Lsn{7992}, std::span(&word, 1)));
}

TEST_CASE("bytes between flushed and head are copied whole, over the ring's end too") {
  TestRing test(Lsn{kBytes - 200});
  std::vector<std::string> ids;
  for (int i = 0; i < 20; ++i) ids.push_back(std::string(static_cast<std::size_t>(50 + i), 'x'));
  for (const std::string& id : ids) test.push(id);
  std::vector<std::byte> bytes(test.marks.head - (kBytes - 200));
  test.ring.copy_stable(Lsn{kBytes - 200}, bytes);
  std::span<const std::byte> rest = bytes;
  Lsn at{kBytes - 200};
  for (const std::string& id : ids) {
    const auto record = decode_record(rest);
    REQUIRE(record);
    CHECK(record->id == id);
    CHECK(test.ring.stable_header(at).bytes() == record->header.bytes());
    rest = rest.subspan(record->header.bytes());
    at.value += record->header.bytes();
  }
  CHECK(rest.empty());
}

TEST_CASE("what a dead producer had begun to write over stays out of reach") {
  TestRing test(Lsn{8});
  const Lsn first = test.push("first");
  while (test.marks.head + kMaxPlainRecordBytes < 8 + kBytes) test.push(std::string(kMaxIdBytes, 'x'));
  REQUIRE(read(test.ring, first, 5) == "first");
  RecordBuffer buffer;
  const Lsn head{test.marks.head};
  const std::string large(kMaxIdBytes, 'y');
  test.ring.write(head, encode_record(buffer, {.scope = 1, .id = large}, head, 1));  // Dies before it moves head.
  CHECK_FALSE(read(test.ring, first, 5));
  const std::uint64_t writing = test.marks.writing;
  test.push("z");  // A smaller record in its place.
  CHECK(test.marks.writing == writing);
  CHECK_FALSE(read(test.ring, first, 5));
}

TEST_CASE("readers beside a writer get whole records or none") {
  TestRing test(Lsn{8});
  const std::uint64_t records = scaled(100'000, 10'000);
  constexpr std::size_t kIdBytes = 300;
  constexpr std::size_t kRecord = record_bytes(kIdBytes);
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> read_whole{0};
  std::atomic<std::uint64_t> damaged{0};
  std::vector<std::thread> readers;
  for (unsigned r = 0; r < 2; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937_64 random(r);
      do {
        const std::uint64_t head = test.marks.head.load(std::memory_order_acquire);
        if (head == 8) continue;
        // Around the oldest that the ring may hold, where a writer is just about to pass.
        const std::uint64_t last = (head - 8) / kRecord - 1;
        const std::uint64_t back = std::min<std::uint64_t>(last, kBytes / kRecord - random() % 4);
        const auto found = read(test.ring, Lsn{8 + (last - back) * kRecord}, kIdBytes);
        if (found && found->size() != kIdBytes) damaged.fetch_add(1);
        if (found) read_whole.fetch_add(1);
      } while (!done.load(std::memory_order_acquire));
    });
  }
  for (std::uint64_t i = 0; i < records; ++i) test.push(std::string(kIdBytes, static_cast<char>('a' + i % 26)));
  wait_until([&] { return read_whole.load() > 0; });
  done.store(true, std::memory_order_release);
  for (std::thread& reader : readers) reader.join();
  CHECK(damaged.load() == 0);
}

TEST_CASE("under a cap a ring lends a sixteenth of it, half of that as the reserve, and never more than it has") {
  TestRing test(Lsn{8});
  CHECK(test.ring.lent_bytes() == kBytes);
  CHECK(test.ring.reserve_bytes() == kBytes / 8);
  CHECK(test.ring.bell_bytes() == kBytes / 4);
  test.cap = 8 * kBytes;
  CHECK(test.ring.lent_bytes() == kBytes / 2);
  CHECK(test.ring.reserve_bytes() == kBytes / 8);
  CHECK(test.ring.bell_bytes() == kBytes / 8);
  test.cap = kBytes;
  CHECK(test.ring.lent_bytes() == kBytes / 16);
  CHECK(test.ring.reserve_bytes() == kBytes / 32);
  test.cap = 1000 * kBytes;
  CHECK(test.ring.lent_bytes() == kBytes);
}
