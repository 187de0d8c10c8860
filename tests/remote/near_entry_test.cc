#include "remote/near_entry.h"

#include <chrono>

#include "asking.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using internal::remote::NearEntry;
using internal::remote::pack;
using internal::remote::unpack;

namespace {

const NearEntry kEntry{~std::uint64_t{0}, Time{std::chrono::microseconds{1'800'000'000'000'123}}, Lsn{4096},
                       NearEntry::kWhole | NearEntry::kOnDisk};

}  // namespace

TEST_CASE("an entry's bytes hold all of the server's record") {
  const std::string binary("\0\xff\n", 3);
  const Attributes given{
      .correlation = "order-7", .fingerprint = 99, .result = binary, .source = {"topic", 3, 1U << 31}};
  const std::string bytes = pack(kEntry, given);
  const auto entry = unpack(bytes);
  REQUIRE(entry);
  CHECK(entry->generation == kEntry.generation);
  CHECK(entry->processed_at == kEntry.processed_at);
  CHECK(entry->lsn == kEntry.lsn);
  CHECK(entry->whole());
  CHECK(entry->on_disk());
  Record record;
  REQUIRE(unpack(bytes, *entry, record));
  CHECK(record.processed_at == kEntry.processed_at);
  CHECK(record.lsn == kEntry.lsn);
  CHECK(record.correlation == given.correlation);
  CHECK(record.fingerprint == given.fingerprint);
  CHECK(record.result == binary);
  CHECK(record.source == Source{"topic", 3, 1U << 31});
}

TEST_CASE("an entry without attributes has 24 bytes") {
  const std::string bytes = pack(kEntry, {});
  CHECK(bytes.size() == 24);
  Record record;
  REQUIRE(unpack(bytes, *unpack(bytes), record));
  CHECK(shown(record) == shown(Record{{}, {}, kEntry.processed_at, kEntry.lsn}));
}

TEST_CASE("bytes that are cut off anywhere before the result are no entry") {
  const std::string bytes = pack(kEntry, {.correlation = "c", .source = {"s", 0, 0}});
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    CAPTURE(size);
    const std::string_view cut = std::string_view(bytes).substr(0, size);
    const auto entry = unpack(cut);
    CHECK(entry.has_value() == (size >= 24));
    Record record;
    if (entry) CHECK_FALSE(unpack(cut, *entry, record));
  }
}

TEST_CASE("an entry covers another of the same record that says no more") {
  NearEntry known = kEntry;
  known.flags = NearEntry::kWhole;
  CHECK(kEntry.covers(kEntry));
  CHECK(kEntry.covers(known));
  CHECK_FALSE(known.covers(kEntry));
  known = kEntry;
  known.generation = 1;
  CHECK_FALSE(known.covers(kEntry));
  known = kEntry;
  known.lsn = Lsn{8};
  CHECK_FALSE(known.covers(kEntry));
}
