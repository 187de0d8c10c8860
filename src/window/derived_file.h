#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/host.h"
#include "base/xxh3.h"

namespace oncelog::internal {

/// What kind of derived file this is; the values are stored.
enum class FileKind : std::uint32_t { live = 1, filter = 2, index = 3, column = 4 };

/// Ties a derived file to what it was derived from: files of another boot, store or format, of an earlier life of the
/// shared memory, of another size, or damaged, do not match and are thrown away. Written once, before anyone else sees
/// the file.
struct FileStamp {
  static constexpr std::uint64_t kMagic = 0x676F6C65636E6F01;  // "\x01oncelog"
  static constexpr std::uint32_t kFormat = 1;

  std::uint64_t magic = kMagic;
  std::uint32_t format = kFormat;
  FileKind kind{};
  Uuid boot_id{};
  Uuid store_file_id{};      // Of the data.mdb beside which it was made: a copy of a store has another.
  Uuid incarnation{};        // New with each `live`: hints of one life must not meet records of another.
  std::uint64_t number = 0;  // Of the filter generation, or of the bucket.
  std::uint64_t part = 0;    // The index table's place in its bucket's chain.
  std::uint64_t extent = 0;  // Filter lines, index slots, ring bytes.
  std::uint64_t file_bytes = 0;
  std::uint64_t shape = 0;  // Of the structs in it, so that another build's file does not match.
  std::uint64_t checksum = 0;

  std::uint64_t expected_checksum() const { return XXH3_64bits(this, offsetof(FileStamp, checksum)); }
  void seal() { checksum = expected_checksum(); }
  bool sealed() const { return magic == kMagic && format == kFormat && checksum == expected_checksum(); }
  bool operator==(const FileStamp&) const = default;
};
static_assert(sizeof(FileStamp) == 112);
static_assert(std::is_trivially_copyable_v<FileStamp>);

/// Derived files begin with one page of header, whose first bytes are the stamp.
inline constexpr std::size_t kFileHeaderBytes = 4096;

inline FileStamp load_stamp(const std::byte* file) {
  FileStamp stamp;
  std::memcpy(static_cast<void*>(&stamp), file, sizeof stamp);
  return stamp;
}

inline void store_stamp(std::byte* file, const FileStamp& stamp) {
  std::memcpy(file, &stamp, sizeof stamp);
}

}  // namespace oncelog::internal
