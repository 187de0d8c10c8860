#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace oncelog::internal::lmdb {

/// What is mended in data.mdb under LMDB's write lock. `file` is LMDB's own descriptor: closing any other one would
/// drop this process's locks. `path` is for errors.

/// After the write of a meta page has failed: the page cache may hold the old one or the new one, and the disk either.
/// LMDB continues from the commit before and writes over pages of the one that failed. If the new meta page is on disk,
/// a power failure during that leaves a damaged file. So the old one is written and synced before anything else.
/// `committed` is the last transaction that counts.
void put_back_meta(int file, std::uint64_t committed, std::size_t page_bytes, const std::filesystem::path& path);

/// Extends a data.mdb that ends before its last used page, at `used` bytes, with zeros; returns whether it did. LMDB
/// never writes pages that one transaction takes and gives back, so any number of pages may be missing from a sound
/// file, all of them in the free list. Where another page is missing, it throws Error::corrupt. Reads the free list
/// only when the file is short.
bool complete_file(int file, std::uint64_t used, const std::filesystem::path& path);

}  // namespace oncelog::internal::lmdb
