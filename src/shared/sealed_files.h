#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/record.h>

#include "base/host.h"
#include "lmdb/catalog.h"
#include "window/derived_file.h"
#include "window/lane_column.h"

namespace oncelog::internal {

/// The files of a sealed bucket, in the store's directory: its index table, as in an index file, and its column of the
/// filter, a header page and a LaneRows for each line. Each is written once, under a name that says what is in it, and
/// named by a SealedNote, whose checksums it must match.

std::string sealed_index_name(std::uint64_t bucket, Lsn end, std::uint64_t slots);
std::string sealed_column_name(std::uint64_t bucket, Lsn end, std::uint64_t lines);
/// Whether it is a name of such a file, finished or not.
bool is_sealed_name(std::string_view name);

/// One of the two.
struct SealedFile {
  FileKind kind;
  std::uint64_t bucket;
  Uuid store_file_id;
  std::string name;
  std::uint64_t extent;  // Slots or lines.
  std::uint64_t bytes;
  std::uint64_t checksum;

  static SealedFile index_of(std::uint64_t bucket, const SealedNote& note);
  static SealedFile column_of(std::uint64_t bucket, const SealedNote& note);

  /// Whether a file with this stamp is the table or column of this bucket and store: of any boot and life.
  bool is_stamped(const FileStamp& stamp) const;
  /// The stamp of a file that is made from nothing else.
  FileStamp new_stamp() const;

  /// Whether there is such a file, of this size and with such a stamp. Does not read it.
  bool is_in(const std::filesystem::path& directory) const;
  enum class State {
    intact,
    missing,  // Or of another user, and not for this one.
    damaged
  };
  /// Reads all of it. As fast as the file can be read, some GB a second where it is in the page cache.
  State check(const std::filesystem::path& directory) const;
};

/// The checksum of such a file: over its header page without the stamp, which differs between boots, then over pieces
/// of kPieceBytes, each with the sum so far as its seed.
class SealedChecksum {
 public:
  static constexpr std::size_t kPieceBytes = std::size_t{256} << 10;  // Fits a processor's cache.

  explicit SealedChecksum(std::span<const std::byte> header);
  /// What follows: whole pieces, but for the last call.
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const { return sum_; }

 private:
  std::uint64_t sum_;
};

/// The paths of all files with such names that no note names.
std::vector<std::filesystem::path> unnamed_sealed_files(const std::filesystem::path& directory,
                                                        std::span<const std::pair<std::uint64_t, SealedNote>> notes);

}  // namespace oncelog::internal
