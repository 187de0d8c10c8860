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
#include "window/lane_column.h"
#include "window/window_filter.h"

namespace oncelog::internal {

/// One lane of a filter generation by itself, in plain memory: for each line a word of its 32 rows, a sixteenth of the
/// generation. Several threads fill it at once; then it is spread over the lines. For a rebuild, which fills one lane
/// after the other and would fetch a whole line for each id.
class FilterColumn {
 public:
  /// An empty one; nothing when there is no memory for it.
  static std::optional<FilterColumn> empty(unsigned lane, std::uint64_t lines) {
    auto memory = PlainMemory::zeroed(lines * sizeof(LaneRows));
    if (!memory) return std::nullopt;
    return FilterColumn(std::move(*memory), lane, lines);
  }

  void prefetch(const MessageHash& hash) const { __builtin_prefetch(&rows_[hash.line(lines_)], 1); }

  /// Relaxed: the threads that add are joined before anyone spreads it.
  void add(const MessageHash& hash) const {
    LaneRows added = 0;
    for (unsigned i = 0; i < MessageHash::kRows; ++i) added |= LaneRows{1} << hash.row(i);
    rows_[hash.line(lines_)].fetch_or(added, std::memory_order_relaxed);
  }

  /// ORs what it has of the lines from `first` on into these words, kWordsPerLine for each line.
  void spread(std::uint64_t first, std::span<std::uint64_t> words) const {
    for (std::uint64_t line = first; !words.empty(); ++line) {
      const LaneRows rows = rows_[line].load(std::memory_order_relaxed);
      if (rows != 0) add_lane_rows(words.data(), lane_, rows);
      words = words.subspan(FilterGeneration::kWordsPerLine);
    }
  }

 private:
  static_assert(sizeof(LaneRows) * 8 == FilterGeneration::kRows && sizeof(std::atomic<LaneRows>) == sizeof(LaneRows));
  static_assert(FilterGeneration::kRowsPerWord == 4 && FilterGeneration::kWordsPerLine == 8 && kLanes == 16);

  FilterColumn(PlainMemory memory, unsigned lane, std::uint64_t lines)
      : memory_(std::move(memory)),
        rows_(reinterpret_cast<std::atomic<LaneRows>*>(memory_.data())),
        lane_(lane),
        lines_(lines) {}

  PlainMemory memory_;
  std::atomic<LaneRows>* rows_;
  unsigned lane_;
  std::uint64_t lines_;
};

}  // namespace oncelog::internal
