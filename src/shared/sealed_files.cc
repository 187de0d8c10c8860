#include "shared/sealed_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/error.h"
#include "base/whole_file.h"
#include "base/xxh3.h"
#include "window/index.h"

namespace oncelog::internal {
namespace {

constexpr std::string_view kPrefix = "sealed-";

}  // namespace

std::string sealed_index_name(std::uint64_t bucket, Lsn end, std::uint64_t slots) {
  return fmt::format("{}index-{}-{}-{}", kPrefix, bucket, end.value, slots);
}

std::string sealed_column_name(std::uint64_t bucket, Lsn end, std::uint64_t lines) {
  return fmt::format("{}column-{}-{}-{}", kPrefix, bucket, end.value, lines);
}

bool is_sealed_name(std::string_view name) {
  return name.starts_with(kPrefix);
}

SealedFile SealedFile::index_of(std::uint64_t bucket, const SealedNote& note) {
  return {FileKind::index,    bucket,
          note.store_file_id, sealed_index_name(bucket, Lsn{note.end}, note.slots),
          note.slots,         IndexTable::file_bytes(note.slots),
          note.table_checksum};
}

SealedFile SealedFile::column_of(std::uint64_t bucket, const SealedNote& note) {
  return {FileKind::column,    bucket,
          note.store_file_id,  sealed_column_name(bucket, Lsn{note.end}, note.lines),
          note.lines,          kFileHeaderBytes + note.lines * sizeof(LaneRows),
          note.column_checksum};
}

bool SealedFile::is_stamped(const FileStamp& stamp) const {
  return stamp.sealed() && stamp.kind == kind && stamp.store_file_id == store_file_id && stamp.number == bucket &&
         stamp.extent == extent && stamp.file_bytes == bytes;
}

FileStamp SealedFile::new_stamp() const {
  FileStamp stamp;
  stamp.kind = kind;
  stamp.store_file_id = store_file_id;
  stamp.number = bucket;
  stamp.extent = extent;
  stamp.file_bytes = bytes;
  stamp.seal();
  return stamp;
}

bool SealedFile::is_in(const std::filesystem::path& directory) const {
  try {
    const auto file = ReadFile::open(directory / name, bytes);
    if (!file) return false;
    std::array<std::byte, sizeof(FileStamp)> stamp;
    file->read_at(stamp, 0);
    return is_stamped(load_stamp(stamp.data()));
  } catch (const Error&) {
    return false;
  }
}

SealedFile::State SealedFile::check(const std::filesystem::path& directory) const {
  const std::filesystem::path path = directory / name;
  std::error_code failed;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, failed))) return State::missing;
  // Of another user's making: it could not be mapped as tables are.
  if (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0) return State::missing;
  try {
    const auto file = ReadFile::open(path, bytes);
    if (!file) return State::damaged;
    std::vector<std::byte> piece(SealedChecksum::kPieceBytes);
    const auto header = std::span(piece).first(kFileHeaderBytes);
    file->read_at(header, 0);
    if (!is_stamped(load_stamp(header.data()))) return State::damaged;
    SealedChecksum sum(header);
    for (std::uint64_t at = kFileHeaderBytes; at < bytes; at += piece.size()) {
      const auto part = std::span(piece).first(std::min<std::uint64_t>(piece.size(), bytes - at));
      file->read_at(part, at);
      sum.add(part);
    }
    return sum.value() == checksum ? State::intact : State::damaged;
  } catch (const Error&) {
    return State::damaged;  // Whatever it is that keeps it from being read.
  }
}

SealedChecksum::SealedChecksum(std::span<const std::byte> header)
    : sum_(XXH3_64bits(header.data() + sizeof(FileStamp), kFileHeaderBytes - sizeof(FileStamp))) {}

void SealedChecksum::add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kPieceBytes));
    sum_ = XXH3_64bits_withSeed(piece.data(), piece.size(), sum_);
    bytes = bytes.subspan(piece.size());
  }
}

std::vector<std::filesystem::path> unnamed_sealed_files(const std::filesystem::path& directory,
                                                        std::span<const std::pair<std::uint64_t, SealedNote>> notes) {
  std::set<std::string> named;
  for (const auto& [bucket, note] : notes) {
    named.insert(SealedFile::index_of(bucket, note).name);
    named.insert(SealedFile::column_of(bucket, note).name);
  }
  std::vector<std::filesystem::path> found;
  // A directory that cannot be read now is read another time: these files only cost space.
  std::error_code failed;
  for (std::filesystem::directory_iterator at(directory, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (is_sealed_name(name) && !named.contains(name)) found.push_back(at->path());
  }
  return found;
}

}  // namespace oncelog::internal
