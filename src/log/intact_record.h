#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "base/message_hash.h"
#include "log/record_codec.h"

namespace oncelog::internal {

/// The hash of a record's id in its scope. `hash_seed` is the store's.
inline MessageHash hash_of(const RecordView& record, std::uint64_t hash_seed) {
  return {MessageHash::scope_seed(hash_seed, record.header.scope), record.id};
}

/// The record at the beginning of `bytes`, which is at `lsn`, and its hash; nothing unless it is whole and all its
/// checksums hold. `hash_seed` is the store's. Some 3 million records a second: inlined, for those who read a whole
/// log.
inline std::optional<std::pair<RecordView, MessageHash>> intact_record(std::span<const std::byte> bytes, Lsn lsn,
                                                                       std::uint64_t hash_seed) {
  const auto record = decode_record(bytes);
  if (!record) return std::nullopt;
  const MessageHash hash = hash_of(*record, hash_seed);
  if (!record->all_intact(lsn, hash.digest())) return std::nullopt;
  return std::pair{*record, hash};
}

}  // namespace oncelog::internal
