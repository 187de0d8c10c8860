#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include <oncelog/record.h>

#include "base/message_hash.h"
#include "base/shared_memory.h"
#include "base/store_locks.h"
#include "window/derived_file.h"
#include "window/lane_column.h"

namespace oncelog::internal {

inline constexpr unsigned kLanes = 16;
using LaneMask = std::uint32_t;

/// One generation of the window filter: a Bloom filter that answers for all time buckets at once with one cache miss.
///
/// A matrix of 64-byte lines, each 32 rows of 16 bits; bit b of a row belongs to the bucket in lane b. An id picks one
/// line and 4 rows; the AND of the rows is the set of lanes that may hold it. It is the blocked Bloom filter of Putze,
/// Sanders and Singler ("Cache-, Hash- and Space-Efficient Bloom Filters", 2007) turned on its side: 16 filters that
/// share their blocks' cache lines. Planned at 16 bits per id and lane, that is 2 ids per line and lane.
///
/// Thread safety: add and sweep by one thread at a time (under the store's mutex); candidates at any time, without a
/// lock.
class FilterGeneration {
 public:
  static constexpr unsigned kLineBytes = 64;
  static constexpr unsigned kRows = 1U << MessageHash::kRowBits;
  static constexpr unsigned kWordsPerLine = kLineBytes / 8;
  static constexpr unsigned kRowsPerWord = 64 / kLanes;
  static constexpr std::uint64_t kIdsPerLine = 2;
  static constexpr std::uint64_t kMaxLines = std::uint64_t{1} << 32;  // As many as MessageHash::line can name.
  static_assert(kRows * kLanes == kLineBytes * 8 && kRowsPerWord * kWordsPerLine == kRows);

  static constexpr std::uint64_t lines_for(std::uint64_t ids) {
    return std::min((ids + kIdsPerLine - 1) / kIdsPerLine, kMaxLines);
  }
  static constexpr std::uint64_t planned_of(std::uint64_t lines) { return lines * kIdsPerLine; }
  /// Growth begins here: a quarter above plan 1.5% of fresh ids pass a lane instead of 0.9%, and a bucket that comes
  /// out as planned, as most do, never gets a second generation to look into.
  static constexpr std::uint64_t capacity_of(std::uint64_t lines) { return planned_of(lines) + planned_of(lines) / 4; }
  static constexpr std::uint64_t file_bytes(std::uint64_t lines) { return kFileHeaderBytes + lines * kLineBytes; }

  /// `file` is file_bytes(lines) long.
  FilterGeneration(MappedFile file, std::uint64_t lines)
      : file_(std::move(file)),
        lines_(lines),
        counts_(reinterpret_cast<LaneCount*>(file_.data() + kCountsOffset)),
        copied_(reinterpret_cast<std::atomic<std::uint64_t>*>(counts_ + kLanes)),
        allocated_(copied_ + 1),
        words_(reinterpret_cast<std::atomic<std::uint64_t>*>(file_.data() + kFileHeaderBytes)) {}

  std::uint64_t lines() const { return lines_; }

  /// Ids added in this lane. Relaxed: it only plans growth.
  std::uint64_t count(unsigned lane) const { return counts_[lane].ids.load(std::memory_order_relaxed); }

  /// For a generation that was made from columns, which were counted when they were taken.
  void restore_count(unsigned lane, std::uint64_t ids) { counts_[lane].ids.store(ids, std::memory_order_relaxed); }

  /// The rows of one lane in a line, see lane_column.h. Relaxed: as candidates.
  LaneRows lane_rows(std::uint64_t line, unsigned lane) const {
    std::array<std::uint64_t, kWordsPerLine> words;
    for (unsigned i = 0; i < kWordsPerLine; ++i) {
      words[i] = words_[line * kWordsPerLine + i].load(std::memory_order_relaxed);
    }
    return internal::lane_rows(words, lane);
  }

  /// The same as IndexTable::reached, for the records of this lane's bucket that are in this generation.
  Lsn reached(unsigned lane) const { return {counts_[lane].reached.load(std::memory_order_relaxed)}; }
  void reach(unsigned lane, Lsn end) { counts_[lane].reached.store(end.value, std::memory_order_relaxed); }

  /// The same as IndexTable::copied, for all lanes that are live.
  Lsn copied() const { return {copied_->load(std::memory_order_relaxed)}; }
  void note_copied(Lsn end) { copied_->store(end.value, std::memory_order_relaxed); }
  /// The same as IndexTable::allocated.
  std::uint64_t allocated() const { return allocated_->load(std::memory_order_relaxed); }
  void note_allocated(std::uint64_t bytes) { allocated_->store(bytes, std::memory_order_relaxed); }
  /// See MappedFile::touch.
  void touch(std::uint64_t from, std::uint64_t bytes) { file_.touch(from, bytes); }

  void prefetch(const MessageHash& hash) const { __builtin_prefetch(line_of(hash)); }

  /// The lanes that may hold the id. Relaxed loads: a reader that has to see an id has learnt of it by an acquire of
  /// `head`, or of something else that came after its mark.
  LaneMask candidates(const MessageHash& hash) const {
    const std::atomic<std::uint64_t>* line = line_of(hash);
    std::uint64_t lanes = ~std::uint64_t{0};
#pragma GCC unroll MessageHash::kRows
    for (unsigned i = 0; i < MessageHash::kRows; ++i) {
      const unsigned row = hash.row(i);
      lanes &= line[row / kRowsPerWord].load(std::memory_order_relaxed) >> (row % kRowsPerWord * kLanes);
    }
    return static_cast<LaneMask>(lanes) & kAllLanes;
  }

  void add(const MessageHash& hash, unsigned lane) {
    counts_[lane].ids.store(count(lane) + 1, std::memory_order_relaxed);
    set_new(hash, lane);
  }

  /// add() for what may be there already: that is not counted again, nor is what only seems to be there, which is at
  /// most the share of fresh ids that pass the lane.
  void copy(const MessageHash& hash, unsigned lane) {
    if (set_new(hash, lane)) counts_[lane].ids.store(count(lane) + 1, std::memory_order_relaxed);
  }

  /// For a generation that is filled at once by the threads of its only process: sets the bits of an id, which
  /// count_ids counts. Relaxed: the threads are joined before anyone looks.
  void set(const MessageHash& hash, unsigned lane) {
    std::atomic<std::uint64_t>* line = line_of(hash);
    for (unsigned i = 0; i < MessageHash::kRows; ++i) {
      const unsigned row = hash.row(i);
      line[row / kRowsPerWord].fetch_or(std::uint64_t{1} << (row % kRowsPerWord * kLanes + lane),
                                        std::memory_order_relaxed);
    }
  }
  void count_ids(unsigned lane, std::uint64_t ids) {
    counts_[lane].ids.store(count(lane) + ids, std::memory_order_relaxed);
  }

  /// Clears these lanes in up to `most` lines from `from`; returns the line to continue from, lines() at the end.
  std::uint64_t sweep(LaneMask lanes, std::uint64_t from, std::uint64_t most) REQUIRES(kStoreMutex) {
    const std::uint64_t row_bits = lanes & kAllLanes;
    const std::uint64_t bits = row_bits | row_bits << 16 | row_bits << 32 | row_bits << 48;
    static_assert(kLanes == 16);
    const std::uint64_t end = from + most < lines_ ? from + most : lines_;
    for (std::uint64_t word = from * kWordsPerLine; word < end * kWordsPerLine; ++word) {
      const std::uint64_t before = words_[word].load(std::memory_order_relaxed);
      if ((before & bits) != 0) words_[word].store(before & ~bits, std::memory_order_relaxed);
    }
    return end;
  }

  /// After the last step of a sweep.
  void reset_counts(LaneMask lanes) REQUIRES(kStoreMutex) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      if ((lanes >> lane & 1) == 0) continue;
      counts_[lane].ids.store(0, std::memory_order_relaxed);
      counts_[lane].reached.store(0, std::memory_order_relaxed);
    }
  }

 private:
  static constexpr std::size_t kCountsOffset = 128;
  static constexpr LaneMask kAllLanes = (LaneMask{1} << kLanes) - 1;
  struct LaneCount {
    std::atomic<std::uint64_t> ids;
    std::atomic<std::uint64_t> reached;
  };
  static_assert(kCountsOffset >= sizeof(FileStamp) &&
                kCountsOffset + kLanes * sizeof(LaneCount) + 16 <= kFileHeaderBytes);

  /// Sets an id's bits; returns whether one was not set.
  bool set_new(const MessageHash& hash, unsigned lane) {
    bool is_new = false;
    std::atomic<std::uint64_t>* line = line_of(hash);
    for (unsigned i = 0; i < MessageHash::kRows; ++i) {
      const unsigned row = hash.row(i);
      std::atomic<std::uint64_t>& word = line[row / kRowsPerWord];
      const std::uint64_t bit = std::uint64_t{1} << (row % kRowsPerWord * kLanes + lane);
      const std::uint64_t before = word.load(std::memory_order_relaxed);
      if ((before & bit) != 0) continue;
      word.store(before | bit, std::memory_order_relaxed);  // Published by the release of head.
      is_new = true;
    }
    return is_new;
  }

  std::atomic<std::uint64_t>* line_of(const MessageHash& hash) const {
    return words_ + hash.line(lines_) * kWordsPerLine;
  }

  MappedFile file_;
  std::uint64_t lines_;
  LaneCount* counts_;
  std::atomic<std::uint64_t>* copied_;
  std::atomic<std::uint64_t>* allocated_;
  std::atomic<std::uint64_t>* words_;
};

}  // namespace oncelog::internal
