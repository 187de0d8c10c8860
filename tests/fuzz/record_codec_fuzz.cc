#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "fuzz.h"
#include "log/record_codec.h"

using namespace oncelog;
using namespace oncelog::internal;
using oncelog::fuzzing::Input;
using oncelog::fuzzing::require;

namespace {

bool within(std::string_view text, std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  return text.empty() || (text.data() >= begin && text.data() + text.size() <= begin + bytes.size());
}

/// Whatever the bytes are: what is decoded lies within them, and the ways to decode agree with each other.
std::size_t check_decoded(std::span<const std::byte> bytes) {
  const auto with_id = decode_record(bytes, RecordPart::id);
  const auto with_names = decode_record(bytes, RecordPart::names);
  const auto whole = decode_record(bytes, RecordPart::whole);
  const auto plain = decode_plain(bytes);
  require(with_id || !with_names, "a record that is there with its names is there with its id");
  require(with_names || !whole, "a record that is there whole is there with its names");
  require(plain.has_value() == (whole && whole->header.is_plain()), "decode_plain finds the plain records");
  if (with_id) {
    require(with_id->header.well_formed(), "a decoded header is well-formed");
    require(with_id->header.has_attributes() == with_id->attributes.has_value(), "attributes are there when flagged");
    require(within(with_id->id, bytes) && with_id->id.size() == with_id->header.id_bytes(), "the id is within");
    with_id->intact(Lsn{8}, 1);
  }
  if (with_names) {
    require(within(with_names->correlation(), bytes) && within(with_names->source_name(), bytes),
            "correlation and source are within");
    with_names->names_intact();
  }
  if (!whole) return 0;
  require(within(whole->result(), bytes), "the result is within");
  require(whole->header.bytes() <= bytes.size() && whole->header.bytes() % kRecordUnit == 0, "the record is within");
  require(whole->header.bytes() >= record_bytes(1), "a record has a length, so that a walk over a block ends");
  whole->all_intact(Lsn{8}, 1);
  if (plain) {
    require(plain->id == whole->id && plain->intact(Lsn{8}, 1) == whole->intact(Lsn{8}, 1),
            "decode_plain and decode_record see one record");
  }
  return whole->header.bytes();
}

/// Walks a block as the readers of the log do.
void check_block(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t record = check_decoded(bytes);
    if (record == 0) return;
    bytes = bytes.subspan(record);
  }
}

/// A record of the input's choice, as the store would write it, read back; appended to `block`.
void round_trip(Input& input, std::vector<std::byte>& block) {
  RecordDraft draft;
  draft.scope = input.number<std::uint32_t>();
  draft.digest = input.number<std::uint64_t>();
  draft.flags = input.number<std::uint8_t>() & (kForgotten | kUncommitted | kVoid);
  const auto time_us = static_cast<std::int64_t>(input.number<std::uint64_t>() & std::uint64_t{kMaxTimeUs});
  const Lsn lsn{(block.size() + kRecordUnit) + (std::uint64_t{input.number<std::uint32_t>()} << 8)};
  std::string id(input.text(1 + input.up_to(kMaxIdBytes - 1)));
  if (id.empty()) id.push_back('i');
  draft.id = id;
  Attributes attributes;
  std::string result;
  if (input.number<std::uint8_t>() % 2 != 0) {
    attributes.fingerprint = input.number<std::uint64_t>();
    attributes.source.offset = input.number<std::uint64_t>();
    attributes.source.partition = input.number<std::uint32_t>();
    attributes.correlation = input.text(input.up_to(kMaxCorrelationBytes));
    attributes.source.name = input.text(input.up_to(kMaxSourceBytes));
    result = std::string(input.text(input.up_to(4096)));
    // Longer than any input, now and then.
    result.append(input.number<std::uint8_t>() % 8 == 7 ? kMaxResultBytes - result.size() : 0, 'r');
    attributes.result = result;
    draft.texts = &attributes;
    draft.attributes = StoredAttributes::of(attributes);
    draft.attributes.previous = input.number<std::uint32_t>() * std::uint64_t{kRecordUnit};
  }
  if (input.number<std::uint8_t>() % 4 == 3) {
    draft.texts = &attributes;
    draft.flags |= kImported;
    draft.imported_us = std::min(time_us, static_cast<std::int64_t>(input.number<std::uint32_t>()));
  }

  std::vector<std::uint64_t> words(draft.bytes() / kRecordUnit, ~std::uint64_t{0});
  const auto written = encode_record(words, draft, lsn, time_us);
  const auto bytes = std::as_bytes(written);
  require(bytes.size() == draft.bytes(), "a record takes the bytes that its draft says");
  require(check_decoded(bytes) == bytes.size(), "what was encoded is decoded, to its end");
  require(!decode_record(bytes.first(bytes.size() - 1)), "a record of which a byte is missing is none");
  const auto record = decode_record(bytes);
  require(record->all_intact(lsn, draft.digest), "what was encoded is intact");
  require(record->id == id && record->header.scope == draft.scope && record->header.time_us() == time_us,
          "id, scope and time come back");
  require((record->header.flags() & ~kHasAttributes) == draft.flags, "the flags come back");
  require(record->correlation() == attributes.correlation && record->source_name() == attributes.source.name &&
              record->result() == attributes.result,
          "the texts come back");
  require(record->imported_us.value_or(0) == draft.imported_us, "an import's time comes back");
  if (record->attributes) {
    require(std::memcmp(&*record->attributes, &draft.attributes, sizeof draft.attributes) == 0,
            "the attributes come back");
  }
  block.insert(block.end(), bytes.begin(), bytes.end());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  if (input.number<std::uint8_t>() % 2 == 0) {
    check_block(input.rest());
    return 0;
  }
  // A block of good records, in which bytes are then changed.
  std::vector<std::byte> block;
  for (std::size_t records = 1 + input.up_to(3); records != 0; --records) round_trip(input, block);
  std::size_t walked = 0;
  while (walked != block.size()) {
    const std::size_t record = check_decoded(std::span(block).subspan(walked));
    require(record != 0, "a block of good records is walked to its end");
    walked += record;
  }
  while (!input.empty()) {
    const std::size_t at = input.number<std::uint32_t>() % block.size();
    block[at] ^= static_cast<std::byte>(input.number<std::uint8_t>());
  }
  check_block(block);
  return 0;
}
