#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include <oncelog/record.h>

#include "base/exported.h"
#include "base/host.h"

namespace oncelog::internal {

/// How a record looks in the stream of bytes. Little-endian, a multiple of 8 bytes long:
///
///    0  u32  checksum
///    4  u32  bits 0..19 length in units of 8 bytes, bits 20..31 flags
///    8  u64  bits 0..53 time in microseconds since 1970, bits 54..63 id bytes - 1
///   16  u32  scope
///   20       id, then zeros up to the next multiple of 8
///
/// and, in a record that was imported, the time when its message was processed, which lies before the record's own:
///
///       u64  processed_at in microseconds since 1970
///
/// and with attributes, which most records do not have:
///
///            StoredAttributes, 48 bytes
///            correlation, source, result, then zeros up to the next multiple of 8
///
/// The checksum covers everything but the padding, and the record's own LSN: header fields and LSN directly, scope and
/// id through MessageHash::digest() (the caller computes it; the hot paths have it anyway), an import's time and
/// StoredAttributes by folding them in, and the texts through the checksums among those. So neither stale bytes nor
/// bytes of an id that look like a record pass for one: the digest is keyed by the store's secret.
inline constexpr std::size_t kRecordUnit = 8;
inline constexpr std::size_t kRecordHeaderBytes = 20;
inline constexpr unsigned kUnitBits = 20;
static_assert(kMaxIdBytes == std::size_t{1} << (64 - kTimeBits));

constexpr std::size_t round_to_unit(std::size_t bytes) {
  return (bytes + kRecordUnit - 1) / kRecordUnit * kRecordUnit;
}

/// What a record's flags say.
enum RecordFlags : std::uint32_t {
  kHasAttributes = 1,
  /// The id was made fresh again: not a message, but the newest record of its id.
  kForgotten = 2,
  /// Belongs to a transaction that has not committed: it is only in the ring, and does not exist yet.
  kUncommitted = 4,
  /// Belongs to a transaction that never committed: only its length counts.
  kVoid = 8,
  /// Was processed earlier, in another store. Its own time, which is the log's, says when it was imported. Only in
  /// stores of kFormatWithImports: an earlier version would take it for damage.
  kImported = 16,
};
inline constexpr std::uint32_t kKnownFlags = kHasAttributes | kForgotten | kUncommitted | kVoid | kImported;
inline constexpr std::size_t kImportedTimeBytes = 8;

/// The fixed part of a record's attributes.
struct StoredAttributes {
  std::uint64_t previous = 0;  // LSN of the record before this one in the correlation's chain; 0 when there is none.
  std::uint64_t fingerprint = 0;
  std::uint64_t source_offset = 0;
  std::uint32_t source_partition = 0;
  std::uint32_t result_bytes = 0;
  std::uint16_t correlation_bytes = 0;
  std::uint16_t source_bytes = 0;
  std::uint32_t names_checksum = 0;  // Of correlation and source.
  std::uint32_t result_checksum = 0;
  std::uint32_t reserved = 0;

  /// Whether these hold something that a record stores.
  static bool stores(const Attributes& attributes) {
    return !attributes.correlation.empty() || attributes.fingerprint != 0 || !attributes.result.empty() ||
           !attributes.source.name.empty();
  }
  /// From what a caller gave: all but `previous`.
  static StoredAttributes of(const Attributes& attributes);

  std::size_t text_bytes() const { return std::size_t{correlation_bytes} + source_bytes + result_bytes; }
  bool within_limits() const {
    return correlation_bytes <= kMaxCorrelationBytes && source_bytes <= kMaxSourceBytes &&
           result_bytes <= kMaxResultBytes && previous % kRecordUnit == 0 && reserved == 0;
  }

  static StoredAttributes load(const std::byte* at) {
    StoredAttributes attributes;
    std::memcpy(static_cast<void*>(&attributes), at, sizeof attributes);
    return attributes;
  }
};
static_assert(sizeof(StoredAttributes) == 48 && std::is_trivially_copyable_v<StoredAttributes> &&
              std::has_unique_object_representations_v<StoredAttributes>);

/// The size of a record without attributes that was not imported.
constexpr std::size_t record_bytes(std::size_t id_bytes) {
  return round_to_unit(kRecordHeaderBytes + id_bytes);
}
/// The size of any record.
inline std::size_t record_bytes(std::size_t id_bytes, const StoredAttributes* attributes, bool imported = false) {
  const std::size_t plain = record_bytes(id_bytes) + (imported ? kImportedTimeBytes : 0);
  return attributes == nullptr ? plain : plain + sizeof *attributes + round_to_unit(attributes->text_bytes());
}

inline constexpr std::size_t kMaxPlainRecordBytes = record_bytes(kMaxIdBytes);
/// Everything in a record but its texts.
inline constexpr std::size_t kMaxRecordFixedBytes =
    kMaxPlainRecordBytes + kImportedTimeBytes + sizeof(StoredAttributes);
/// Everything in a record but its result.
inline constexpr std::size_t kMaxRecordPrefixBytes =
    kMaxRecordFixedBytes + round_to_unit(kMaxCorrelationBytes + kMaxSourceBytes);
inline constexpr std::size_t kMaxRecordBytes = kMaxRecordPrefixBytes + kMaxResultBytes;
static_assert(kMaxRecordBytes / kRecordUnit < (1U << kUnitBits));

/// The fixed part of a record, read from its first kRecordHeaderBytes bytes and not yet checked against anything.
struct RecordHeader {
  std::uint32_t checksum;
  std::uint32_t units_flags;
  std::uint64_t time_size;
  std::uint32_t scope;

  std::size_t bytes() const { return (units_flags & ((1U << kUnitBits) - 1)) * kRecordUnit; }
  std::uint32_t flags() const { return units_flags >> kUnitBits; }
  std::int64_t time_us() const { return static_cast<std::int64_t>(time_size & static_cast<std::uint64_t>(kMaxTimeUs)); }
  std::size_t id_bytes() const { return static_cast<std::size_t>(time_size >> kTimeBits) + 1; }
  bool has_attributes() const { return (flags() & kHasAttributes) != 0; }
  bool is_imported() const { return (flags() & kImported) != 0; }
  /// Header and id are all of it, as in most records.
  bool is_plain() const { return (flags() & (kHasAttributes | kImported)) == 0; }
  /// What follows the padded id, up to the texts.
  std::size_t extra_bytes() const {
    return (is_imported() ? kImportedTimeBytes : 0) + (has_attributes() ? sizeof(StoredAttributes) : 0);
  }

  /// The lengths agree with each other and nothing is set that this format does not know.
  bool well_formed() const {
    if ((flags() & ~kKnownFlags) != 0) return false;
    const std::size_t plain = record_bytes(id_bytes());
    if (is_plain()) return bytes() == plain;
    const std::size_t fixed = plain + extra_bytes();
    return has_attributes() ? bytes() >= fixed && bytes() <= kMaxRecordBytes : bytes() == fixed;
  }

  static RecordHeader load(const std::byte* at) {
    RecordHeader header;
    std::memcpy(&header.checksum, at, 4);
    std::memcpy(&header.units_flags, at + 4, 4);
    std::memcpy(&header.time_size, at + 8, 8);
    std::memcpy(&header.scope, at + 16, 4);
    return header;
  }

  /// The record's first word, that of checksum and flags: a record's flags change by one store of it.
  static std::uint64_t first_word(std::uint32_t checksum, std::uint32_t units_flags) {
    return std::uint64_t{units_flags} << 32 | checksum;
  }

  static std::uint32_t checksum_of(std::uint32_t units_flags, std::uint64_t time_size, Lsn lsn, std::uint64_t digest) {
    // Two rounds of multiply and xor-shift (the finaliser of MurmurHash3 by Austin Appleby) over fields that are each
    // injective in the mix: a change of any single field changes the 64-bit state.
    std::uint64_t mix = digest ^ (lsn.value * 0xFF51AFD7ED558CCDULL);
    mix = (mix ^ (mix >> 33)) * 0xC4CEB9FE1A85EC53ULL;
    mix ^= time_size + (std::uint64_t{units_flags} << 32 | units_flags);
    mix = (mix ^ (mix >> 33)) * 0xFF51AFD7ED558CCDULL;
    mix = (mix ^ (mix >> 33)) * 0xC4CEB9FE1A85EC53ULL;
    return static_cast<std::uint32_t>(mix >> 32);
  }
};
static_assert(std::endian::native == std::endian::little);

/// Room for the largest record without its result, in the words in which the ring takes it.
using RecordBuffer = std::array<std::uint64_t, kMaxRecordPrefixBytes / kRecordUnit>;

/// What a record will say, except its time and its LSN, which are known only once it is accepted.
struct RecordDraft {
  std::uint32_t scope = 0;
  std::string_view id;
  std::uint64_t digest = 0;           // MessageHash's.
  std::uint32_t flags = 0;            // Without kHasAttributes.
  const Attributes* texts = nullptr;  // Null for a plain record.
  StoredAttributes attributes = {};   // Of the texts, where they are to be stored.
  std::int64_t imported_us = 0;       // With kImported.

  /// `given` may be null, and outlives the draft. A record has attributes only where there is something to store.
  static RecordDraft of(std::uint32_t scope, std::string_view id, std::uint64_t digest,
                        const Attributes* given = nullptr, std::uint32_t flags = 0) {
    RecordDraft draft{scope, id, digest, flags};
    if (given != nullptr && StoredAttributes::stores(*given)) {
      draft.texts = given;
      draft.attributes = StoredAttributes::of(*given);
    }
    return draft;
  }

  /// A message that was processed at that time, which must not lie after the record's. `given` outlives the draft.
  static RecordDraft of_import(std::uint32_t scope, std::string_view id, std::uint64_t digest, const Attributes& given,
                               std::int64_t processed_us) {
    RecordDraft draft = of(scope, id, digest, &given, kImported);
    draft.texts = &given;
    draft.imported_us = processed_us;
    return draft;
  }

  bool imported() const { return (flags & kImported) != 0; }
  bool has_attributes() const { return texts != nullptr && StoredAttributes::stores(*texts); }
  std::size_t bytes() const {
    return texts == nullptr ? record_bytes(id.size())
                            : record_bytes(id.size(), has_attributes() ? &attributes : nullptr, imported());
  }
};

/// Writes what of a draft follows its id; returns its digest with all that is fixed folded in.
std::uint64_t encode_extras(std::span<std::uint64_t> out, const RecordDraft& draft);

/// Writes the record into `out`, which has room for draft.bytes(), and returns its words. Inline, for the hot path, in
/// which records are plain.
inline std::span<const std::uint64_t> encode_record(std::span<std::uint64_t> out, const RecordDraft& draft, Lsn lsn,
                                                    std::int64_t time_us) {
  const std::size_t plain = record_bytes(draft.id.size());
  std::size_t bytes = plain;
  std::uint32_t flags = draft.flags;
  std::uint64_t digest = draft.digest;
  if (draft.texts != nullptr) [[unlikely]] {
    bytes = draft.bytes();
    if (draft.has_attributes()) flags |= kHasAttributes;
    digest = encode_extras(out.subspan(plain / kRecordUnit, (bytes - plain) / kRecordUnit), draft);
  }
  const auto units_flags = static_cast<std::uint32_t>(bytes / kRecordUnit) | flags << kUnitBits;
  const std::uint64_t time_size = static_cast<std::uint64_t>(time_us) | std::uint64_t{draft.id.size() - 1} << kTimeBits;
  out[plain / kRecordUnit - 1] = 0;  // The padding is in the last word.
  auto* at = reinterpret_cast<std::byte*>(out.data());
  out[0] = RecordHeader::first_word(RecordHeader::checksum_of(units_flags, time_size, lsn, digest), units_flags);
  std::memcpy(at + 8, &time_size, 8);
  std::memcpy(at + 16, &draft.scope, 4);
  std::memcpy(at + kRecordHeaderBytes, draft.id.data(), draft.id.size());
  return out.first(bytes / kRecordUnit);
}

/// A record somewhere in memory: its header and its id, both inside the bytes that were given.
struct RecordView {
  RecordHeader header;
  std::string_view id;
  std::optional<StoredAttributes> attributes;
  const char* texts = nullptr;  // Where the attributes' texts begin; perhaps beyond what was given.
  std::optional<std::int64_t> imported_us = std::nullopt;

  /// When the message was processed; header.time_us() is when the record was made.
  std::int64_t processed_us() const { return imported_us ? *imported_us : header.time_us(); }

  std::string_view correlation() const {
    return attributes ? std::string_view(texts, attributes->correlation_bytes) : std::string_view();
  }
  std::string_view source_name() const {
    return attributes ? std::string_view(texts + attributes->correlation_bytes, attributes->source_bytes)
                      : std::string_view();
  }
  std::string_view result() const {
    return attributes ? std::string_view(texts + attributes->correlation_bytes + attributes->source_bytes,
                                         attributes->result_bytes)
                      : std::string_view();
  }

  /// The checksum is the one of these fields at this LSN with an id of this digest. Does not look at the texts.
  bool intact(Lsn lsn, std::uint64_t digest) const { return header.checksum == checksum(lsn, digest); }
  std::uint32_t checksum(Lsn lsn, std::uint64_t digest) const { return checksum(header.units_flags, lsn, digest); }
  /// The one that it would have with these flags.
  ONCELOG_INTERNAL std::uint32_t checksum(std::uint32_t units_flags, Lsn lsn, std::uint64_t digest) const;

  /// The correlation and the source, or the result, are those that the attributes' checksums are of.
  ONCELOG_INTERNAL bool names_intact() const;
  ONCELOG_INTERNAL bool result_intact() const;
  bool all_intact(Lsn lsn, std::uint64_t digest) const {
    return intact(lsn, digest) && names_intact() && result_intact();
  }
};

/// How much of a record has to be there.
enum class RecordPart {
  id,     // Header and id, and the attributes' fixed part where there is one.
  names,  // Correlation and source as well.
  whole,
};

/// The record at the beginning of `bytes`; nothing when there is no well-formed one, or less of it than `part` asks
/// for.
ONCELOG_INTERNAL std::optional<RecordView> decode_record(std::span<const std::byte> bytes,
                                                         RecordPart part = RecordPart::whole);

/// A plain record, as most are: so small that the hot path keeps it in registers. A RecordView there made
/// a comparison of ids 20 ns slower.
struct PlainRecord {
  RecordHeader header;
  std::string_view id;

  std::int64_t processed_us() const { return header.time_us(); }
  bool intact(Lsn lsn, std::uint64_t digest) const {
    return header.checksum == RecordHeader::checksum_of(header.units_flags, header.time_size, lsn, digest);
  }
};

/// The record at the beginning of `bytes`; nothing when there is no well-formed plain one.
inline std::optional<PlainRecord> decode_plain(std::span<const std::byte> bytes) {
  if (bytes.size() < kRecordHeaderBytes) return std::nullopt;
  const RecordHeader header = RecordHeader::load(bytes.data());
  if (!header.is_plain() || !header.well_formed() || header.bytes() > bytes.size()) return std::nullopt;
  return PlainRecord{header, {reinterpret_cast<const char*>(bytes.data()) + kRecordHeaderBytes, header.id_bytes()}};
}

}  // namespace oncelog::internal
