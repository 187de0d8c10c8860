#include "log/record_codec.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/message_hash.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;

namespace {

constexpr std::uint64_t kSeed = 99;
constexpr Lsn kLsn{4096};

std::uint64_t digest_of(std::uint32_t scope, std::string_view id) {
  return MessageHash(MessageHash::scope_seed(kSeed, scope), id).digest();
}

std::vector<std::byte> encoded(std::uint32_t scope, std::string_view id, std::int64_t time_us, Lsn lsn = kLsn) {
  RecordBuffer buffer;
  buffer.fill(~std::uint64_t{0});
  const auto bytes =
      std::as_bytes(encode_record(buffer, {.scope = scope, .id = id, .digest = digest_of(scope, id)}, lsn, time_us));
  return {bytes.begin(), bytes.end()};
}

/// Whether these bytes pass for a record at this LSN, by all that a reader of the log checks.
bool passes(std::span<const std::byte> bytes, Lsn lsn = kLsn) {
  const auto record = decode_record(bytes);
  return record && record->all_intact(lsn, digest_of(record->header.scope, record->id));
}

}  // namespace

TEST_CASE("a record of every id length comes back as it was written") {
  std::string id;
  for (std::size_t length = 1; length <= kMaxIdBytes; ++length) {
    id.push_back(static_cast<char>(length * 7));
    const std::int64_t time_us = length % 2 == 0 ? kMaxTimeUs : static_cast<std::int64_t>(length);
    const auto scope = static_cast<std::uint32_t>(0xFFFFFFFF - length);
    const auto bytes = encoded(scope, id, time_us);
    REQUIRE(bytes.size() == record_bytes(length));
    REQUIRE(bytes.size() % kRecordUnit == 0);
    REQUIRE(bytes.size() - length - kRecordHeaderBytes < kRecordUnit);
    REQUIRE(bytes.size() <= kMaxPlainRecordBytes);
    REQUIRE(passes(bytes));
    const auto record = decode_record(bytes);
    REQUIRE(record->id == id);
    REQUIRE(record->header.scope == scope);
    REQUIRE(record->header.time_us() == time_us);
    REQUIRE(record->header.bytes() == bytes.size());
    REQUIRE(record->header.flags() == 0);
    REQUIRE_FALSE(record->attributes);
  }
}

TEST_CASE("a record's bytes are laid out as the format says") {
  const auto bytes = encoded(0x0A0B0C0D, "abcde", 0x0123456789ABCD);
  REQUIRE(bytes.size() == 32);
  const auto at = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  CHECK(at(4) == 4);  // Units.
  for (const std::size_t i : {5U, 6U, 7U}) CHECK(at(i) == 0);
  const unsigned time_size[] = {0xCD, 0xAB, 0x89, 0x67, 0x45, 0x23, 0x01, 0x01};  // 4 << 54 is 1 << 56.
  for (std::size_t i = 0; i < 8; ++i) CHECK(at(8 + i) == time_size[i]);
  const unsigned scope[] = {0x0D, 0x0C, 0x0B, 0x0A};
  for (std::size_t i = 0; i < 4; ++i) CHECK(at(16 + i) == scope[i]);
  for (std::size_t i = 0; i < 5; ++i) CHECK(at(20 + i) == 'a' + i);
  for (std::size_t i = 25; i < 32; ++i) CHECK(at(i) == 0);
}

TEST_CASE("a record cut short anywhere is no record") {
  const auto bytes = encoded(1, "an id of some length", 1);
  for (std::size_t size = 0; size < bytes.size(); ++size) CHECK_FALSE(decode_record(std::span(bytes).first(size)));
  CHECK(decode_record(bytes));
}

TEST_CASE("a flipped bit anywhere in a record is noticed") {
  const std::string id = "order-4711-x";  // No padding: zeros after the id carry nothing.
  const auto bytes = encoded(3, id, 1'800'000'000'000'000);
  REQUIRE(bytes.size() == kRecordHeaderBytes + id.size());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    CAPTURE(bit);
    CHECK_FALSE(passes(damaged));
  }
}

TEST_CASE("a record read at another LSN than its own is noticed") {
  const auto bytes = encoded(1, "a", 1);
  CHECK(passes(bytes, kLsn));
  for (std::uint64_t lsn = 0; lsn < 8 * kLsn.value; lsn += kRecordUnit)
    CHECK(passes(bytes, Lsn{lsn}) == (lsn == kLsn.value));
}

TEST_CASE("lengths that contradict each other, and flags of a later format, make no record") {
  const auto with = [](std::size_t units, std::uint32_t flags, std::size_t id_bytes) {
    std::vector<std::byte> bytes(2 * kMaxPlainRecordBytes, std::byte{'x'});
    const auto units_flags = static_cast<std::uint32_t>(units | flags << kUnitBits);
    const std::uint64_t time_size = std::uint64_t{id_bytes - 1} << kTimeBits;
    std::memcpy(bytes.data() + 4, &units_flags, 4);
    std::memcpy(bytes.data() + 8, &time_size, 8);
    return decode_record(bytes).has_value();
  };
  for (const std::size_t id_bytes : {1U, 4U, 5U, 12U, 13U, 1023U, 1024U}) {
    const std::size_t units = record_bytes(id_bytes) / kRecordUnit;
    CHECK(with(units, 0, id_bytes));
    CHECK_FALSE(with(units - 1, 0, id_bytes));
    CHECK_FALSE(with(units + 1, 0, id_bytes));
    CHECK_FALSE(with(0, 0, id_bytes));
    CHECK_FALSE(with((1U << kUnitBits) - 1, 0, id_bytes));
    for (unsigned flag = 0; flag < 12; ++flag) {
      // An attributed or imported record of this length has no room for what it has more.
      const bool known = (1U << flag & kKnownFlags & ~(kHasAttributes | kImported)) != 0;
      CHECK(with(units, 1U << flag, id_bytes) == known);
    }
  }
}

namespace {

/// A record with attributes: encoded as the store does, into memory that was full of something else.
std::vector<std::byte> encoded(std::string_view id, const Attributes& attributes, std::uint64_t previous = 0,
                               std::uint32_t flags = 0) {
  RecordDraft draft{.scope = 3, .id = id, .digest = digest_of(3, id), .flags = flags};
  draft.texts = &attributes;
  draft.attributes = StoredAttributes::of(attributes);
  draft.attributes.previous = previous;
  std::vector<std::uint64_t> buffer(draft.bytes() / kRecordUnit, ~std::uint64_t{0});
  const auto bytes = std::as_bytes(encode_record(buffer, draft, kLsn, kMaxTimeUs));
  REQUIRE(bytes.size() == draft.bytes());
  REQUIRE(bytes.size() == record_bytes(id.size(), &draft.attributes));
  return {bytes.begin(), bytes.end()};
}

/// No byte of these is padding.
const Attributes kSnug{.correlation = "correlation!",
                       .fingerprint = 0x0123456789ABCDEF,
                       .result = "a small result.",
                       .source = {"topic", 0xFFFFFFFF, ~std::uint64_t{0}}};
constexpr std::string_view kSnugId = "order-4711-x";
constexpr std::size_t kSnugPlain = kRecordHeaderBytes + 12;
constexpr std::size_t kSnugTexts = kSnugPlain + sizeof(StoredAttributes);
constexpr std::size_t kSnugNames = kSnugTexts + 12 + 5;
constexpr std::size_t kSnugBytes = kSnugNames + 15;
static_assert(kSnugPlain % kRecordUnit == 0 && kSnugBytes % kRecordUnit == 0);

}  // namespace

TEST_CASE("attributes come back as they were written, whichever of them there are") {
  for (unsigned there = 0; there < 32; ++there) {
    if ((there & 15) == 0) continue;  // Nothing to store.
    CAPTURE(there);
    Attributes attributes;
    if ((there & 1) != 0) attributes.correlation = "c\0rrelation";
    if ((there & 2) != 0) attributes.fingerprint = 7;
    if ((there & 4) != 0) attributes.result = std::string_view("re\0ult", 6);
    if ((there & 8) != 0) attributes.source.name = "topic";
    if ((there & 16) != 0) attributes.source.partition = 5, attributes.source.offset = 6;
    const auto bytes = encoded("an id", attributes, 4088, kUncommitted);
    CHECK(passes(bytes));
    const auto record = decode_record(bytes);
    REQUIRE(record);
    CHECK(record->id == "an id");
    CHECK(record->header.flags() == (kHasAttributes | kUncommitted));
    CHECK(record->header.bytes() == bytes.size());
    CHECK(record->correlation() == attributes.correlation);
    CHECK(record->source_name() == attributes.source.name);
    CHECK(record->result() == attributes.result);
    REQUIRE(record->attributes);
    CHECK(record->attributes->fingerprint == attributes.fingerprint);
    CHECK(record->attributes->source_partition == attributes.source.partition);
    CHECK(record->attributes->source_offset == attributes.source.offset);
    CHECK(record->attributes->previous == 4088);
    CHECK(decode_record(bytes, RecordPart::id)->id == "an id");
    CHECK_FALSE(decode_plain(bytes));
  }
}

TEST_CASE("an imported record holds both times, and every change of a bit in it is noticed") {
  for (const Attributes& attributes : {Attributes{}, kSnug}) {
    const RecordDraft draft = RecordDraft::of_import(3, kSnugId, digest_of(3, kSnugId), attributes, 4711);
    std::vector<std::uint64_t> buffer(draft.bytes() / kRecordUnit, ~std::uint64_t{0});
    const auto words = std::as_bytes(encode_record(buffer, draft, kLsn, kMaxTimeUs));
    std::vector<std::byte> bytes(words.begin(), words.end());
    REQUIRE(bytes.size() == draft.bytes());
    const auto record = decode_record(bytes);
    REQUIRE(record);
    CHECK(passes(bytes));
    CHECK_FALSE(decode_plain(bytes));
    CHECK(record->processed_us() == 4711);
    CHECK(record->header.time_us() == kMaxTimeUs);
    CHECK(record->attributes.has_value() == StoredAttributes::stores(attributes));
    CHECK(record->correlation() == attributes.correlation);
    CHECK(record->result() == attributes.result);
    for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      CAPTURE(bit);
      bytes[bit / 8] ^= std::byte{1} << bit % 8;
      CHECK_FALSE(passes(bytes));
      bytes[bit / 8] ^= std::byte{1} << bit % 8;
    }
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      CHECK_FALSE(decode_record(std::span(bytes).first(length)));
    }
  }
}

TEST_CASE("attributes as large as their limits make a record, and larger ones none") {
  const std::string id(kMaxIdBytes, 'i');
  const std::string correlation(kMaxCorrelationBytes, 'c');
  const std::string source(kMaxSourceBytes, 's');
  const std::string result(kMaxResultBytes, 'r');
  const auto bytes = encoded(id, {.correlation = correlation, .result = result, .source = {.name = source}});
  CHECK(bytes.size() + kImportedTimeBytes <= kMaxRecordBytes);
  CHECK(bytes.size() + kImportedTimeBytes + kRecordUnit > kMaxRecordBytes);
  CHECK(passes(bytes));
  CHECK(decode_record(bytes)->result() == result);
  const auto prefix = encoded(id, {.correlation = correlation, .source = {.name = source}});
  CHECK(prefix.size() + kImportedTimeBytes == kMaxRecordPrefixBytes);
  const auto with = [&](auto change) {
    std::vector<std::byte> changed = encoded(kSnugId, kSnug);
    StoredAttributes attributes = StoredAttributes::load(changed.data() + kSnugPlain);
    change(attributes);
    std::memcpy(changed.data() + kSnugPlain, &attributes, sizeof attributes);
    const auto units = static_cast<std::uint32_t>(record_bytes(kSnugId.size(), &attributes) / kRecordUnit) |
                       std::uint32_t{kHasAttributes} << kUnitBits;
    std::memcpy(changed.data() + 4, &units, 4);
    changed.resize(2 * kMaxRecordBytes);
    return decode_record(changed).has_value() || decode_record(changed, RecordPart::names).has_value() ||
           decode_record(changed, RecordPart::id).has_value();
  };
  CHECK(with([](StoredAttributes&) {}));
  CHECK(with([](StoredAttributes& a) { a.correlation_bytes = kMaxCorrelationBytes; }));
  CHECK_FALSE(with([](StoredAttributes& a) { a.correlation_bytes = kMaxCorrelationBytes + 1; }));
  CHECK(with([](StoredAttributes& a) { a.source_bytes = kMaxSourceBytes; }));
  CHECK_FALSE(with([](StoredAttributes& a) { a.source_bytes = kMaxSourceBytes + 1; }));
  CHECK(with([](StoredAttributes& a) { a.result_bytes = kMaxResultBytes; }));
  CHECK_FALSE(with([](StoredAttributes& a) { a.result_bytes = kMaxResultBytes + 1; }));
  CHECK_FALSE(with([](StoredAttributes& a) { a.previous = 4; }));
  CHECK_FALSE(with([](StoredAttributes& a) { a.reserved = 1; }));
}

TEST_CASE("an attributed record whose lengths contradict each other is none") {
  for (const int units : {-3, -2, -1, 1, 2, 1000}) {
    std::vector<std::byte> bytes = encoded(kSnugId, kSnug);
    RecordHeader header = RecordHeader::load(bytes.data());
    header.units_flags += static_cast<std::uint32_t>(units);
    std::memcpy(bytes.data() + 4, &header.units_flags, 4);
    bytes.resize(bytes.size() + 10'000);
    CHECK_FALSE(decode_record(bytes));
    CHECK_FALSE(decode_record(bytes, RecordPart::id));
    CHECK_FALSE(decode_plain(bytes));
  }
}

TEST_CASE("a flipped bit anywhere in an attributed record is noticed") {
  const auto bytes = encoded(kSnugId, kSnug, 808);
  REQUIRE(bytes.size() == kSnugBytes);
  REQUIRE(passes(bytes));
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    CAPTURE(bit);
    CHECK_FALSE(passes(damaged));
    // Who looks at the names alone notices what is in them or before them, and likewise of the result.
    const auto record = decode_record(damaged);
    if (!record) continue;
    const std::uint64_t digest = digest_of(record->header.scope, record->id);
    CHECK(record->intact(kLsn, digest) == (bit / 8 >= kSnugTexts));
    if (bit / 8 < kSnugTexts) continue;
    CHECK(record->names_intact() == (bit / 8 >= kSnugNames));
    CHECK(record->result_intact() == (bit / 8 < kSnugNames));
  }
}

TEST_CASE("texts that change places do not pass for each other") {
  const auto bytes = encoded("id", {.correlation = "same", .result = "same", .source = {.name = "else"}});
  auto swapped = bytes;
  std::swap_ranges(swapped.end() - 16, swapped.end() - 12, swapped.end() - 12);  // Padded by four.
  REQUIRE(swapped != bytes);
  REQUIRE(decode_record(swapped)->correlation() == "else");
  CHECK_FALSE(passes(swapped));
}

TEST_CASE("an attributed record read at another LSN than its own is noticed") {
  const auto bytes = encoded(kSnugId, kSnug);
  CHECK(passes(bytes, kLsn));
  for (std::uint64_t lsn = 0; lsn < 8 * kLsn.value; lsn += kRecordUnit)
    CHECK(passes(bytes, Lsn{lsn}) == (lsn == kLsn.value));
}

TEST_CASE("a record cut short is there to the part that it reaches, and to no further one") {
  const auto bytes = encoded(kSnugId, kSnug);
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    CAPTURE(size);
    // Copied, so that whatever reads beyond it reads beyond an allocation.
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    const auto id = decode_record(cut, RecordPart::id);
    CHECK(id.has_value() == (size >= kSnugTexts));
    CHECK_FALSE(decode_plain(cut));
    if (id) CHECK(id->intact(kLsn, digest_of(3, id->id)));
    const auto names = decode_record(cut, RecordPart::names);
    CHECK(names.has_value() == (size >= kSnugNames));
    if (names) CHECK(names->names_intact());
    if (names) CHECK(names->correlation() == kSnug.correlation);
    if (names) CHECK(names->source_name() == kSnug.source.name);
    CHECK(decode_record(cut, RecordPart::whole).has_value() == (size >= kSnugBytes));
  }
  const auto plain = encoded(1, kSnugId, 1);
  for (std::size_t size = 0; size <= plain.size(); ++size) {
    const auto cut = std::span(plain).first(size);
    for (const RecordPart part : {RecordPart::id, RecordPart::names, RecordPart::whole}) {
      CHECK(decode_record(cut, part).has_value() == (size == plain.size()));
    }
    CHECK(decode_plain(cut).has_value() == (size == plain.size()));
  }
}

TEST_CASE("a record's flags change by its first word alone, and the record with it stays intact") {
  for (const bool attributed : {false, true}) {
    auto bytes = attributed ? encoded(kSnugId, kSnug, 8, kUncommitted) : encoded(3, kSnugId, 1);
    for (const std::uint32_t flags : {std::uint32_t{kVoid}, std::uint32_t{0}, kUncommitted | std::uint32_t{kVoid}}) {
      const auto before = decode_record(bytes);
      REQUIRE(before);
      const std::uint32_t all = flags | (attributed ? kHasAttributes : 0U);
      const std::uint32_t units_flags = static_cast<std::uint32_t>(bytes.size() / kRecordUnit) | all << kUnitBits;
      const std::uint64_t word =
          RecordHeader::first_word(before->checksum(units_flags, kLsn, digest_of(3, kSnugId)), units_flags);
      std::memcpy(bytes.data(), &word, sizeof word);
      REQUIRE(passes(bytes));
      CHECK(decode_record(bytes)->header.flags() == all);
      CHECK(decode_record(bytes)->header.units_flags == units_flags);
      CHECK(decode_record(bytes)->id == kSnugId);
    }
  }
}

TEST_CASE("a payload's fingerprint is never 0 and differs from another payload's") {
  CHECK(fingerprint("") != 0);
  CHECK(fingerprint("a") == fingerprint("a"));
  CHECK(fingerprint("a") != fingerprint("b"));
  CHECK(fingerprint("a") != fingerprint(std::string_view("a\0", 2)));
}
