#include "maintenance/stored_values.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace oncelog::internal {
namespace {

template <typename T>
T load(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof value);
  return value;
}

}  // namespace

std::optional<StoreIdentity> stored_identity(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  if (bytes.size() < sizeof(std::uint32_t)) return std::nullopt;
  const auto version = load<std::uint32_t>(bytes);
  if (version > kNewestFormat && version < 1000) {  // Above it is damage rather than a later version.
    throw error_at(ErrorCode::newer_format, path,
                   "the store has format version {}, this oncelog knows {}; use a newer oncelog", version,
                   kNewestFormat);
  }
  if (bytes.size() != sizeof(StoreIdentity) || version == 0 || version > kNewestFormat) return std::nullopt;
  const auto identity = load<StoreIdentity>(bytes);
  if (identity.buckets < kMinBuckets || identity.buckets > kMaxBuckets || identity.retention_us <= 0) {
    return std::nullopt;
  }
  return identity;
}

std::optional<std::uint64_t> stored_number(std::span<const std::byte> bytes) {
  return bytes.size() == sizeof(std::uint64_t) ? std::optional(load<std::uint64_t>(bytes)) : std::nullopt;
}

std::optional<std::vector<std::byte>> value_of(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, std::size_t most,
                                               const lmdb::FaultVisitor& fault) {
  if (entry.bytes > most) return std::nullopt;
  std::vector<std::byte> value(static_cast<std::size_t>(entry.bytes));
  if (!pages.read(entry, 0, value, fault)) return std::nullopt;
  return value;
}

Gaps stored_gaps(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, const lmdb::FaultVisitor& fault) {
  constexpr std::size_t kGapBytes = 2 * sizeof(std::uint64_t);
  Gaps gaps;
  const auto bytes = value_of(pages, entry, kMostMetaBytes, fault);
  for (std::size_t at = 0; bytes && at + kGapBytes <= bytes->size(); at += kGapBytes) {
    const auto gap = std::span(*bytes).subspan(at);
    gaps.emplace_back(load<std::uint64_t>(gap), load<std::uint64_t>(gap.subspan(sizeof(std::uint64_t))));
  }
  return gaps;
}

Lsn end_of_log(const lmdb::Pages& pages, const lmdb::Meta& meta, Lsn from) {
  Lsn end = from;
  const auto ignore = [](const lmdb::Fault&) {};
  if (const auto table = pages.table(meta, "log", ignore)) {
    pages.each(
        *table,
        [&](const lmdb::TreeEntry& entry) {
          end = std::max(end, Lsn{entry.number().value_or(0) + entry.bytes});
          return true;
        },
        ignore, from.value);
  }
  return end;
}

bool meta_intact(const lmdb::Pages& pages, const lmdb::TreeInfo& table) {
  bool intact = true;
  std::uint32_t version = MetaChecksum::kSince;
  std::optional<std::uint64_t> stored;
  MetaChecksum checksum;
  const auto fault = [&](const lmdb::Fault&) { intact = false; };
  pages.each(
      table,
      [&](const lmdb::TreeEntry& entry) {
        const auto value = value_of(pages, entry, kMostMetaBytes, fault);
        if (!value) {
          intact = false;
        } else if (entry.text() == MetaChecksum::kKey && stored_number(*value)) {
          stored = stored_number(*value);
        } else {
          if (entry.text() == Catalog::kIdentityKey && value->size() >= sizeof version)
            version = load<std::uint32_t>(*value);
          checksum.add(entry.text(), *value);
        }
        return intact;
      },
      fault);
  return intact && (stored ? *stored == checksum.value() : version < MetaChecksum::kSince);
}

}  // namespace oncelog::internal
