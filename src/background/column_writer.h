#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "window/filter_column.h"

namespace oncelog::internal {

/// The filled columns of a filter generation, until they are written to its file.
class ColumnWriter {
 public:
  /// `lines` are the generation's, whose file is at `path`.
  ColumnWriter(std::filesystem::path path, std::uint64_t lines) : path_(std::move(path)), lines_(lines) {}

  void keep(FilterColumn column) { columns_.push_back(std::move(column)); }
  /// That write() writes.
  std::uint64_t bytes() const { return lines_ * FilterGeneration::kLineBytes; }

  /// Writes the generation's lines in the order of the file, by several threads. `beside`:
  /// other lanes have bits in the file, which stay. Throws Error::io.
  void write(unsigned threads, bool beside) const;

 private:
  void write_lines(std::uint64_t first, std::span<std::uint64_t> words, bool beside) const;

  std::filesystem::path path_;
  std::uint64_t lines_;
  std::vector<FilterColumn> columns_;
};

}  // namespace oncelog::internal
