#include "background/column_writer.h"

#include <algorithm>

#include "background/pieces.h"
#include "base/shared_memory.h"

namespace oncelog::internal {

void ColumnWriter::write(unsigned threads, bool beside) const {
  constexpr std::uint64_t kPieceLines = (std::uint64_t{1} << 20) / FilterGeneration::kLineBytes;
  in_pieces(threads, "rebuilding the filter", lines_, kPieceLines, [&] {
    std::vector<std::uint64_t> buffer(std::min(kPieceLines, lines_) * FilterGeneration::kWordsPerLine);
    return [this, beside, words = std::move(buffer)](std::uint64_t first, std::uint64_t count) mutable {
      write_lines(first, std::span(words).first(count * FilterGeneration::kWordsPerLine), beside);
    };
  });
}

void ColumnWriter::write_lines(std::uint64_t first, std::span<std::uint64_t> words, bool beside) const {
  const std::uint64_t at = FilterGeneration::file_bytes(first);
  if (beside) {
    MappedFile::read(path_, at, std::as_writable_bytes(words));
  } else {
    std::fill(words.begin(), words.end(), 0);
  }
  for (const FilterColumn& column : columns_) column.spread(first, words);
  MappedFile::write(path_, at, std::as_bytes(words));
}

}  // namespace oncelog::internal
