#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "base/message_hash.h"
#include "base/plain_memory.h"
#include "window/window_filter.h"

namespace oncelog::internal {

/// One lane of a filter generation by itself, in plain memory: for each line a word of its 32 rows, a sixteenth of the
/// generation. Several threads fill it at once; then it is spread over the lines. For a rebuild, which fills one lane
/// after the other and would fetch a whole line for each id.
class FilterColumn {
 public:
  /// An empty one; nothing when there is no memory for it.
  static std::optional<FilterColumn> empty(unsigned lane, std::uint64_t lines) {
    auto memory = PlainMemory::zeroed(lines * sizeof(Rows));
    if (!memory) return std::nullopt;
    return FilterColumn(std::move(*memory), lane, lines);
  }

  void prefetch(const MessageHash& hash) const { __builtin_prefetch(&rows_[hash.line(lines_)], 1); }

  /// Relaxed: the threads that add are joined before anyone spreads it.
  void add(const MessageHash& hash) const {
    Rows added = 0;
    for (unsigned i = 0; i < MessageHash::kRows; ++i) added |= Rows{1} << hash.row(i);
    rows_[hash.line(lines_)].fetch_or(added, std::memory_order_relaxed);
  }

  /// ORs what it has of the lines from `first` on into these words, kWordsPerLine for each line.
  void spread(std::uint64_t first, std::span<std::uint64_t> words) const {
    for (std::uint64_t line = first; !words.empty(); ++line) {
      const Rows rows = rows_[line].load(std::memory_order_relaxed);
      if (rows != 0) spread(rows, words.data());
      words = words.subspan(FilterGeneration::kWordsPerLine);
    }
  }

 private:
  using Rows = std::uint32_t;
  static_assert(sizeof(Rows) * 8 == FilterGeneration::kRows && sizeof(std::atomic<Rows>) == sizeof(Rows));

  FilterColumn(PlainMemory memory, unsigned lane, std::uint64_t lines)
      : memory_(std::move(memory)),
        rows_(reinterpret_cast<std::atomic<Rows>*>(memory_.data())),
        lane_(lane),
        lines_(lines) {}

  /// Bit r of `rows` becomes bit lane_ of row r of the line.
  void spread(Rows rows, std::uint64_t* line) const {
    static_assert(FilterGeneration::kRowsPerWord == 4 && kLanes == 16);
    for (unsigned word = 0; word < FilterGeneration::kWordsPerLine; ++word) {
      const std::uint64_t four = rows >> (4 * word) & 0xF;
      // Bit i of the four is multiplied to the bits i + 15 j, and kept where i is j: at 16 i.
      line[word] |= (four * 0x0000'2000'4000'8001 & 0x0001'0001'0001'0001) << lane_;
    }
  }

  PlainMemory memory_;
  std::atomic<Rows>* rows_;
  unsigned lane_;
  std::uint64_t lines_;
};

}  // namespace oncelog::internal
