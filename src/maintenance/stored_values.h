#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lmdb/catalog.h"
#include "lmdb/pages.h"

namespace oncelog::internal {

/// Single values of a data.mdb that may be damaged, read by lmdb::Pages alone.

/// The identity as stored in `bytes`; nothing when that is damaged. Throws Error::newer_format.
std::optional<StoreIdentity> stored_identity(std::span<const std::byte> bytes, const std::filesystem::path& path);

/// A value that is a 64-bit number; nothing when it has another size.
std::optional<std::uint64_t> stored_number(std::span<const std::byte> bytes);

/// Whether the checksum over a table `meta` holds, or there is none because the store is of an earlier format.
bool meta_intact(const lmdb::Pages& pages, const lmdb::TreeInfo& table);

/// The whole value of an entry, up to `most` bytes; nothing when it is longer, or its pages are damaged.
std::optional<std::vector<std::byte>> value_of(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, std::size_t most,
                                               const lmdb::FaultVisitor& fault);

/// Where the log ends, when it does not end before `from`. The structure must have been found sound.
Lsn end_of_log(const lmdb::Pages& pages, const lmdb::Meta& meta, Lsn from);

/// The ranges of LSNs that repair() has left out of a log, as it has noted in table `meta`: (begin, end), ascending.
inline constexpr std::string_view kGapsKey = "gaps";
inline constexpr std::size_t kMostMetaBytes = std::size_t{64} << 20;  // Of one value there, such as the list of gaps.
using Gaps = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
Gaps stored_gaps(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, const lmdb::FaultVisitor& fault);

}  // namespace oncelog::internal
