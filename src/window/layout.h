#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <oncelog/record.h>

#include "window/window_filter.h"

namespace oncelog::internal {

inline constexpr unsigned kMaxLiveBuckets = kLanes;
inline constexpr unsigned kMaxTables = 14;
inline constexpr unsigned kMaxGenerations = 8;
inline constexpr std::uint64_t kMaxSlots = std::uint64_t{1} << MessageHash::kHomeBits;

struct BucketInfo {
  std::uint64_t number = 0;
  Lsn first_lsn;
  std::int64_t slice_begin_us = 0;
  std::int64_t slice_end_us = 0;
  std::int64_t newest_us = 0;  // Of its newest record; valid once the next bucket is open.
  std::int64_t closed_us = 0;  // When the next one was opened: earlier than newest_us where a clock was ahead before.
  std::uint32_t lane = 0;
  std::uint32_t tables = 0;
  std::uint64_t first_part = 0;                   // Of its first table's file: those before it were replaced.
  std::array<std::uint64_t, kMaxTables> slots{};  // Of each index table, oldest first ...
  std::array<Lsn, kMaxTables> table_lsn{};        // ... and the LSN from which on records are in it.
  // Where the bucket ends, if its only table is a sealed one: that lies in the store's directory, is named after this
  // LSN, and is never written to. 0 for tables of this boot.
  Lsn sealed_end;

  /// In the name of the next table's file.
  std::uint64_t next_part() const { return first_part + tables; }
};

struct GenerationInfo {
  std::uint64_t number = 0;
  std::uint64_t lines = 0;
  Lsn first_lsn;       // Records from here on are in it, up to the next one's.
  LaneMask lanes = 0;  // Lanes that were written here and not swept since.
  std::uint32_t reserved = 0;
};

/// Which buckets, index tables and filter generations there are: all that a process needs to know to map them. A plain
/// value; the rules for changing it are in buckets.h.
struct Layout {
  std::uint32_t bucket_count = 0;      // Oldest first; the last one is written to.
  std::uint32_t generation_count = 0;  // Oldest first; the last one is written to.
  std::array<BucketInfo, kMaxLiveBuckets> buckets{};
  std::array<GenerationInfo, kMaxGenerations> generations{};
  LaneMask sweeping = 0;  // Lanes of dropped buckets whose bits are being cleared.
  std::uint32_t reserved = 0;
  std::uint64_t drops = 0;  // Buckets dropped so far: distinguishes one sweep of a lane from the next.
  std::uint64_t next_bucket = 1;
  std::uint64_t next_generation = 1;
  // Files that are made and wait to be used; 0 when there is none.
  std::uint64_t spare_bucket_slots = 0;      // Table 0 of bucket next_bucket.
  std::uint64_t spare_table_slots = 0;       // The current bucket's next table.
  std::uint64_t spare_generation_lines = 0;  // Generation next_generation.
  // The next table of a bucket, while it is filled with the records of the tables that it is to replace. Only the
  // holder of the writer gate touches it. 0 when there is none.
  std::uint64_t building_bucket = 0;  // The bucket's number.
  std::uint64_t building_slots = 0;
  // The same for all generations: generation next_generation, while it is filled with all live records.
  std::uint64_t building_lines = 0;
  std::uint64_t checksum = 0;  // Of a published one.

  bool empty() const { return bucket_count == 0; }
  const BucketInfo& current() const { return buckets[bucket_count - 1]; }
  BucketInfo& current() { return buckets[bucket_count - 1]; }
  const GenerationInfo& newest_generation() const { return generations[generation_count - 1]; }
  GenerationInfo& newest_generation() { return generations[generation_count - 1]; }

  /// Whether the table that is built is the current bucket's: it takes the place of a spare one.
  bool builds_current() const { return building_slots != 0 && !empty() && current().number == building_bucket; }

  LaneMask live_lanes() const {
    LaneMask lanes = 0;
    for (unsigned i = 0; i < bucket_count; ++i) lanes |= LaneMask{1} << buckets[i].lane;
    return lanes;
  }

  std::uint64_t expected_checksum(std::uint64_t epoch) const;

  /// Whether it is as it was published, under that epoch. Asked when the store is opened: if a bucket seemed to begin
  /// later than it does, the log below it would be deleted.
  bool intact(std::uint64_t epoch) const { return checksum == expected_checksum(epoch); }

  /// Whether what was read from shared memory may be used as counts and indexes.
  bool well_formed() const {
    if (bucket_count > kMaxLiveBuckets || generation_count > kMaxGenerations || generation_count == 0) return false;
    if (building_slots != 0 && (building_slots < 8 || building_slots > kMaxSlots)) return false;
    if (building_lines > FilterGeneration::kMaxLines) return false;
    LaneMask taken = sweeping;
    for (unsigned i = 0; i < bucket_count; ++i) {
      const BucketInfo& bucket = buckets[i];
      if (bucket.first_lsn.value % 8 != 0 || (i != 0 && bucket.first_lsn < buckets[i - 1].first_lsn)) return false;
      if (bucket.lane < kLanes && (taken >> bucket.lane & 1) != 0) return false;
      if (bucket.lane < kLanes) taken |= LaneMask{1} << bucket.lane;
      if (bucket.sealed_end.value % 8 != 0 || (bucket.sealed_end.value != 0 && bucket.tables != 1)) return false;
      if (bucket.lane >= kLanes || bucket.tables == 0 || bucket.tables > kMaxTables) return false;
      for (unsigned t = 0; t < bucket.tables; ++t) {
        if (bucket.slots[t] < 8 || bucket.slots[t] > kMaxSlots) return false;
      }
    }
    for (unsigned i = 0; i < generation_count; ++i) {
      if (generations[i].lines == 0 || generations[i].lines > FilterGeneration::kMaxLines) return false;
    }
    return true;
  }
};
static_assert(std::is_trivially_copyable_v<Layout> && std::has_unique_object_representations_v<Layout>);
static_assert(sizeof(Layout) % 8 == 0);

inline std::uint64_t Layout::expected_checksum(std::uint64_t epoch) const {
  static_assert(offsetof(Layout, checksum) + sizeof checksum == sizeof(Layout));
  return XXH3_64bits_withSeed(this, offsetof(Layout, checksum), epoch);
}

/// The layout in shared memory, in two copies: a new layout is written beside the one in force and put in force by one
/// store, so that a process that dies while changing it changes nothing. The epoch counts the changes.
///
/// Thread safety: publish under the store's mutex; epoch and read at any time, without a lock.
class LayoutCell {
 public:
  /// Acquire: pairs with the release in publish. A reader that sees an epoch sees the files and the layout that belong
  /// to it.
  std::uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }

  /// The layout in force, and its epoch.
  Layout read(std::uint64_t& epoch_out) const {
    for (;;) {
      const std::uint64_t before = epoch();
      std::array<std::uint64_t, kWords> words;
      for (std::size_t i = 0; i < kWords; ++i) {
        // Acquire: pairs with the release in publish. A word of a later layout brings the epoch before it along,
        // so that the comparison below fails.
        words[i] = copies_[before % 2][i].load(std::memory_order_acquire);
      }
      if (epoch() != before) continue;
      epoch_out = before;
      Layout layout;
      std::memcpy(static_cast<void*>(&layout), words.data(), sizeof layout);
      return layout;
    }
  }

  void publish(Layout layout) {
    const std::uint64_t next = epoch_.load(std::memory_order_relaxed) + 1;
    layout.checksum = layout.expected_checksum(next);
    std::array<std::uint64_t, kWords> words;
    std::memcpy(words.data(), &layout, sizeof layout);
    for (std::size_t i = 0; i < kWords; ++i) {
      copies_[next % 2][i].store(words[i], std::memory_order_release);  // Pairs with the acquire in read.
    }
    epoch_.store(next, std::memory_order_release);  // Pairs with the acquire in epoch.
  }

 private:
  static constexpr std::size_t kWords = sizeof(Layout) / 8;

  alignas(64) std::atomic<std::uint64_t> epoch_;
  alignas(64) std::array<std::array<std::atomic<std::uint64_t>, kWords>, 2> copies_;
};

}  // namespace oncelog::internal
