#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "base/descriptors.h"

namespace oncelog::internal {

/// Files that are written once, from the beginning to the end, and only read after that. Without a mapping: a page that
/// is stored into for the first time costs a fault and, on a file system that journals, far more than its copy.

/// Makes a new file, under another name until it is whole. Used by one thread at a time. Errors: full, no_permission,
/// io; then, and where it is not published, nothing is left of it.
class NewFile {
 public:
  /// The end of the name that a file has until it is published.
  static constexpr const char* kUnfinished = ".unfinished";

  explicit NewFile(std::filesystem::path path);
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();

  /// Appends, and waits until what was appended before is on its way to the disk, so that neither much of it waits in
  /// memory nor the sync at the end takes long.
  void append(std::span<const std::byte> bytes);
  /// Returns once everything is on disk, under the name that it has.
  void sync();
  /// Gives it its name, in place of any file of that name. The name is not on disk before the directory is synced.
  void publish();

 private:
  void write_back();

  const std::filesystem::path path_;
  const std::filesystem::path unfinished_;
  Descriptor file_;
  std::uint64_t size_ = 0;
  std::uint64_t written_back_ = 0;
  bool published_ = false;
};

/// Writes all of it at an offset, which may be done by several threads at once. Throws as NewFile.
void write_at(int fd, std::span<const std::byte> bytes, std::uint64_t offset, const std::filesystem::path& path);

/// Reads all of it likewise. Throws Error::io, also where the file ends before.
void read_at(int fd, std::span<std::byte> bytes, std::uint64_t offset, const std::filesystem::path& path);
/// A file that is there already, to be written without a mapping. Throws as NewFile.
Descriptor open_to_write(const std::filesystem::path& path);

/// A file that is only read. Used by any number of threads.
class ReadFile {
 public:
  /// Nothing when there is no regular file of exactly this size. Throws Error::io, no_permission.
  static std::optional<ReadFile> open(const std::filesystem::path& path, std::uint64_t size);

  /// Throws Error::io, also where the file has become shorter.
  void read_at(std::span<std::byte> bytes, std::uint64_t offset) const;

 private:
  ReadFile(Descriptor file, std::filesystem::path path) : file_(std::move(file)), path_(std::move(path)) {}

  Descriptor file_;
  std::filesystem::path path_;
};

}  // namespace oncelog::internal
