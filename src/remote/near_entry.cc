#include "remote/near_entry.h"

#include <array>
#include <cassert>
#include <chrono>
#include <cstring>

namespace oncelog::internal::remote {
namespace {

struct Head {
  std::uint64_t generation;
  std::int64_t processed_us;
  std::uint64_t lsn_and_flags;
};
static_assert(sizeof(Head) == 24);

struct Fixed {
  std::uint64_t fingerprint;
  std::uint64_t source_offset;
  std::uint32_t source_partition;
  std::uint16_t source_bytes;
  std::uint16_t correlation_bytes;
};
static_assert(sizeof(Fixed) == 24);
static_assert(kMaxSourceBytes <= UINT16_MAX && kMaxCorrelationBytes <= UINT16_MAX);

constexpr std::uint64_t kLsnUnit = 8;
static_assert(NearEntry::kAllFlags < kLsnUnit);

bool has_any(const Attributes& attributes) {
  return !attributes.correlation.empty() || attributes.fingerprint != 0 || !attributes.result.empty() ||
         !attributes.source.name.empty();
}

template <typename T>
void append(std::string& bytes, const T& value) {
  std::array<char, sizeof value> raw;
  std::memcpy(raw.data(), &value, sizeof value);
  bytes.append(raw.data(), raw.size());
}

template <typename T>
T load(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

std::string pack(NearEntry entry, const Attributes& attributes) {
  assert(entry.lsn.value % kLsnUnit == 0);
  if (has_any(attributes)) entry.flags |= NearEntry::kAttributes;
  const SourceView& source = attributes.source;
  std::string bytes;
  bytes.reserve(sizeof(Head) + sizeof(Fixed) + source.name.size() + attributes.correlation.size() +
                attributes.result.size());
  append(bytes, Head{entry.generation, entry.processed_at.time_since_epoch().count(), entry.lsn.value | entry.flags});
  if ((entry.flags & NearEntry::kAttributes) == 0) return bytes;
  append(bytes, Fixed{attributes.fingerprint, source.name.empty() ? 0 : source.offset,
                      source.name.empty() ? 0 : source.partition, static_cast<std::uint16_t>(source.name.size()),
                      static_cast<std::uint16_t>(attributes.correlation.size())});
  return bytes.append(source.name).append(attributes.correlation).append(attributes.result);
}

std::optional<NearEntry> unpack(std::string_view bytes) {
  if (bytes.size() < sizeof(Head)) return std::nullopt;
  const auto head = load<Head>(bytes);
  NearEntry entry;
  entry.generation = head.generation;
  entry.processed_at = Time{std::chrono::microseconds{head.processed_us}};
  entry.flags = head.lsn_and_flags & NearEntry::kAllFlags;
  entry.lsn = Lsn{head.lsn_and_flags & ~NearEntry::kAllFlags};
  if (entry.lsn.value == 0) return std::nullopt;
  return entry;
}

bool unpack(std::string_view bytes, const NearEntry& entry, Record& out) {
  out.processed_at = entry.processed_at;
  out.lsn = entry.lsn;
  if ((entry.flags & NearEntry::kAttributes) == 0) return true;
  bytes.remove_prefix(sizeof(Head));
  if (bytes.size() < sizeof(Fixed)) return false;
  const auto fixed = load<Fixed>(bytes);
  bytes.remove_prefix(sizeof(Fixed));
  if (bytes.size() < std::size_t{fixed.source_bytes} + fixed.correlation_bytes) return false;
  out.fingerprint = fixed.fingerprint;
  out.source = {std::string(bytes.substr(0, fixed.source_bytes)), fixed.source_partition, fixed.source_offset};
  bytes.remove_prefix(fixed.source_bytes);
  out.correlation = bytes.substr(0, fixed.correlation_bytes);
  out.result = bytes.substr(fixed.correlation_bytes);
  return true;
}

}  // namespace oncelog::internal::remote
