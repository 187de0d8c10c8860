#include "log/ring_salvage.h"

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <span>
#include <string>

#include "parts.h"
#include "shared.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

RingSalvage salvage_of(const Parts& parts) {
  return {parts.live->ring(), parts.identity.hash_seed};
}

/// Where the ring can hold records to at most.
Lsn limit_of(const Parts& parts, Lsn from) {
  return Lsn{from.value + parts.live->ring().bytes()};
}

}  // namespace

TEST_CASE("records are found by their checksums up to where they end, whatever the head says") {
  Parts parts;
  const Lsn first = parts.append("a");
  parts.append("b");
  const Lsn end = parts.head();
  parts.header().marks.head.store(~std::uint64_t{0});
  RingSalvage salvage = salvage_of(parts);
  CHECK(salvage.whole_until(first, limit_of(parts, first)) == end);
  CHECK(salvage.whole_until(first, Lsn{end.value - 8}) < end);
  REQUIRE(salvage.record_at(first, end));
  CHECK(salvage.record_at(first, end)->id == "a");
  CHECK_FALSE(salvage.record_at(first, Lsn{end.value / 2}));
  CHECK_FALSE(salvage.record_at(end, limit_of(parts, end)));
}

TEST_CASE("neither records of an earlier lap nor bytes of an id pass for records") {
  Parts parts;
  const Lsn first = parts.append("first");
  // Ids that hold a whole record, of another place.
  std::string inside(32, '\0');
  parts.live->ring().copy_stable(first, std::as_writable_bytes(std::span(inside)).first(32));
  inside.insert(0, 4, 'x');  // The id begins after 20 bytes: this is where a record may begin.
  while (parts.head().value < 2 * parts.live->ring().bytes()) {
    parts.append(inside + std::to_string(parts.head().value));
    if (parts.head().value - parts.flushed().value > parts.live->ring().bytes() / 2) parts.flush();
  }
  const Lsn last = parts.append(inside);
  const Lsn head = parts.head();
  RingSalvage salvage = salvage_of(parts);
  CHECK(salvage.whole_until(last, head) == head);
  CHECK_FALSE(salvage.next_whole(Lsn{last.value + 8}, head));
  CHECK_FALSE(salvage.next_whole(head, limit_of(parts, head)));
  CHECK_FALSE(salvage.record_at(first, head));
}

TEST_CASE("of bytes that only look like a large record's header no more is read than such a record begins with") {
  constexpr std::size_t kRingBytes = std::size_t{2} << 20;
  constexpr std::size_t kReadable = 64 << 10;
  void* const memory = ::mmap(nullptr, kRingBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* const words = static_cast<std::atomic<std::uint64_t>*>(memory);
  Watermarks marks = {};
  const std::atomic<std::uint64_t> no_cap = 0;
  const Lsn first{kRecordUnit};
  Ring ring(words, kRingBytes, first, marks, no_cap);
  StoredAttributes attributes;
  attributes.result_bytes = kMaxResultBytes;
  const std::uint64_t units = record_bytes(1, &attributes) / kRecordUnit;
  ring.put_first_word(first, (units | std::uint64_t{kHasAttributes} << kUnitBits) << 32);
  std::memcpy(static_cast<std::byte*>(memory) + first.value + record_bytes(1), &attributes, sizeof attributes);
  REQUIRE(ring.stable_header(first).well_formed());
  RingSalvage salvage(ring, 1);
  const Lsn limit{first.value + kRingBytes};
  CHECK_FALSE(salvage.record_at(first, limit));
  // Whoever reads beyond dies.
  const pid_t child = spawn([&]() -> int {
    expect(::mprotect(static_cast<std::byte*>(memory) + kReadable, kRingBytes - kReadable, PROT_NONE) == 0, "a guard");
    return salvage.record_at(first, limit) ? 1 : 0;
  });
  CHECK(wait_for(child) == 0);
  ::munmap(memory, kRingBytes);
}

TEST_CASE("any length that records leave is filled with void ones, and the next record is reached through them") {
  Parts parts;
  RingSalvage salvage = salvage_of(parts);
  const Lsn from = parts.head();
  RecordHeader like = {};
  like.scope = Parts::kScope;
  like.time_size = static_cast<std::uint64_t>(FakeHost::kStartUs);
  CHECK_FALSE(salvage.make_void(from, Lsn{from.value + 8}, like));
  CHECK_FALSE(salvage.make_void(from, Lsn{from.value + 16}, like));
  for (std::size_t bytes = 24; bytes <= 3 * kMaxPlainRecordBytes; bytes += 8) {
    CAPTURE(bytes);
    const Lsn to{from.value + bytes};
    REQUIRE(salvage.make_void(from, to, like));
    for (Lsn at = from; at < to;) {
      const auto record = salvage.record_at(at, to);
      REQUIRE(record);
      CHECK(record->header.flags() == kVoid);
      CHECK(record->header.time_us() == FakeHost::kStartUs);
      CHECK(record->header.scope == Parts::kScope);
      at.value += record->header.bytes();
    }
  }
}
