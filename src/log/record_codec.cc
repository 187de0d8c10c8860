#include "log/record_codec.h"

#include <algorithm>

#include "base/xxh3.h"

namespace oncelog {

std::uint64_t fingerprint(std::string_view payload) noexcept {
  const std::uint64_t hash = XXH3_64bits(payload.data(), payload.size());
  return hash == 0 ? 1 : hash;
}

namespace internal {
namespace {

constexpr std::uint64_t kNamesSeed = 1;
constexpr std::uint64_t kResultSeed = 2;

std::uint32_t text_checksum(std::string_view text, std::uint64_t seed) {
  return static_cast<std::uint32_t>(XXH3_64bits_withSeed(text.data(), text.size(), seed));
}

std::uint32_t checksum_of_names(std::string_view correlation, std::string_view source) {
  return text_checksum(correlation, kNamesSeed) ^ (text_checksum(source, kNamesSeed) * 0x9E3779B1U);
}

/// A digest with a word folded in; injective in it.
std::uint64_t fold(std::uint64_t digest, std::uint64_t word) {
  digest = (digest ^ word) * 0xC4CEB9FE1A85EC53ULL;
  return digest ^ (digest >> 33);
}

/// The same with the attributes' fixed part.
std::uint64_t fold(std::uint64_t digest, const StoredAttributes& attributes) {
  std::array<std::uint64_t, sizeof attributes / 8> words;
  std::memcpy(words.data(), &attributes, sizeof attributes);
  for (const std::uint64_t word : words) digest = fold(digest, word);
  return digest;
}

}  // namespace

StoredAttributes StoredAttributes::of(const Attributes& attributes) {
  StoredAttributes stored;
  stored.fingerprint = attributes.fingerprint;
  stored.source_offset = attributes.source.offset;
  stored.source_partition = attributes.source.partition;
  stored.result_bytes = static_cast<std::uint32_t>(attributes.result.size());
  stored.correlation_bytes = static_cast<std::uint16_t>(attributes.correlation.size());
  stored.source_bytes = static_cast<std::uint16_t>(attributes.source.name.size());
  stored.names_checksum = checksum_of_names(attributes.correlation, attributes.source.name);
  stored.result_checksum = text_checksum(attributes.result, kResultSeed);
  return stored;
}

std::uint64_t encode_extras(std::span<std::uint64_t> out, const RecordDraft& draft) {
  std::uint64_t digest = draft.digest;
  if (draft.imported()) {
    out.front() = static_cast<std::uint64_t>(draft.imported_us);
    digest = fold(digest, out.front());
    out = out.subspan(1);
  }
  if (!draft.has_attributes()) return digest;
  if (draft.attributes.text_bytes() != 0) out.back() = 0;  // The padding is in the last word.
  auto* at = reinterpret_cast<std::byte*>(out.data());
  std::memcpy(at, &draft.attributes, sizeof draft.attributes);
  at += sizeof draft.attributes;
  for (const std::string_view text : {draft.texts->correlation, draft.texts->source.name, draft.texts->result}) {
    at = std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), at);
  }
  return fold(digest, draft.attributes);
}

std::uint32_t RecordView::checksum(std::uint32_t units_flags, Lsn lsn, std::uint64_t digest) const {
  if (imported_us) digest = fold(digest, static_cast<std::uint64_t>(*imported_us));
  return RecordHeader::checksum_of(units_flags, header.time_size, lsn, attributes ? fold(digest, *attributes) : digest);
}

bool RecordView::names_intact() const {
  return !attributes || attributes->names_checksum == checksum_of_names(correlation(), source_name());
}

bool RecordView::result_intact() const {
  return !attributes || attributes->result_checksum == text_checksum(result(), kResultSeed);
}

std::optional<RecordView> decode_record(std::span<const std::byte> bytes, RecordPart part) {
  if (bytes.size() < kRecordHeaderBytes) return std::nullopt;
  const RecordHeader header = RecordHeader::load(bytes.data());
  const std::size_t plain = record_bytes(header.id_bytes());
  if (!header.well_formed() || bytes.size() < plain) return std::nullopt;
  RecordView record{
      header, {reinterpret_cast<const char*>(bytes.data()) + kRecordHeaderBytes, header.id_bytes()}, {}, {}, {}};
  const std::size_t texts = plain + header.extra_bytes();
  if (bytes.size() < texts) return std::nullopt;
  if (header.is_imported()) {
    std::int64_t& imported_us = record.imported_us.emplace();
    std::memcpy(&imported_us, bytes.data() + plain, sizeof imported_us);
    if (imported_us < 0 || imported_us > header.time_us()) return std::nullopt;
  }
  if (header.has_attributes()) {
    record.attributes = StoredAttributes::load(bytes.data() + texts - sizeof(StoredAttributes));
    const StoredAttributes& attributes = *record.attributes;
    if (!attributes.within_limits() ||
        header.bytes() != record_bytes(header.id_bytes(), &attributes, header.is_imported())) {
      return std::nullopt;
    }
    record.texts = reinterpret_cast<const char*>(bytes.data()) + texts;
    if (part != RecordPart::id &&
        bytes.size() < texts + attributes.correlation_bytes + std::size_t{attributes.source_bytes}) {
      return std::nullopt;
    }
  }
  if (part == RecordPart::whole && header.bytes() > bytes.size()) return std::nullopt;
  return record;
}

}  // namespace internal
}  // namespace oncelog
