#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>

#include "shared/view.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// How fast the current bucket fills, as this process has seen it. Thread-safe.
class Pace {
 public:
  /// What has been seen by `now_us`, a boot time: the number of the current bucket, and how many entries it has.
  void note(std::uint64_t bucket, std::uint64_t entries, std::int64_t now_us);

  /// Entries a second in the last half second or so; nothing when too little has been seen.
  std::optional<double> per_second() const;
  /// Whether the bucket has stayed about the same for kQuietUs.
  bool quiet() const;

  static constexpr std::int64_t kQuietUs = 2'000'000;

 private:
  struct Sample {
    std::uint64_t entries = 0;
    std::int64_t at_us = 0;
  };
  static constexpr std::int64_t kWindowUs = 500'000;
  static constexpr std::int64_t kLeastUs = 1'000;
  static constexpr std::uint64_t kStillShare = 64;  // Fewer entries than this share more is about the same.

  mutable std::mutex mutex_;
  std::uint64_t bucket_ = 0;
  Sample last_;
  Sample window_;  // What last_ is compared with: half a window to a window ago, or when the bucket was new.
  Sample next_window_;
  Sample still_since_;
};

/// A table that had no room for the entries of its bucket, whatever the counts say. Of no bucket when `slots` is 0.
struct TooSmall {
  std::uint64_t bucket = 0;
  std::uint64_t slots = 0;

  bool is(std::uint64_t number, std::uint64_t size) const { return bucket == number && size <= slots; }
  /// `size` for a table of bucket `number`, or twice what had no room.
  std::uint64_t larger(std::uint64_t number, std::uint64_t size) const {
    return is(number, size) ? std::min(2 * slots, kMaxSlots) : size;
  }
};

/// How index tables and filter generations are sized. One that is too small, or much too large, is replaced by one of
/// the right size, which is filled from the log before producers use it, so that a bucket has one table, and the store
/// one generation, whatever comes.
struct Growth {
  std::uint64_t planned_ids;  // Of a bucket: no table is made smaller than for these.

  /// The slots of the next table of the current bucket, planned for the ids that the bucket will have at the end of its
  /// slice at its present pace; but for four times what the table now has at most, twice where that is millions, as the
  /// pace may not last, and for a quarter more at least. Where healing does not keep up, so that there is a chain, as
  /// much larger as next_table_slots says at least. There must be a bucket.
  static std::uint64_t next_slots(const View& view, const Pace& pace, std::int64_t now_us,
                                  const TooSmall& too_small = {});
  /// How many of the slots that are wanted an empty table gets that is made at once, since the present one is about to
  /// be full: producers may wait meanwhile. The bucket gets what it wants when its chain heals.
  static std::uint64_t slots_at_once(const View& view, std::uint64_t wanted);
  /// What is wanted as soon as it is time to build it, so that it is filled before the present one is full.
  static std::optional<std::uint64_t> next_table(const View& view, const Pace& pace, std::int64_t now_us,
                                                 const TooSmall& too_small = {});
  /// Whether the present one will be full before anything of it can be copied, so that an empty one has to do:
  /// producers that have to make it themselves would wait for a flush. The chain heals afterwards. There must be a
  /// bucket.
  static bool too_late_to_build(const View& view, const Pace& pace);
  /// Whether a table that is built for the current bucket has to be ready now, however much of it is filled.
  static bool wants_built_table(const View& view, const Pace& pace);

  /// The position of a bucket whose tables must be replaced by one, and its slots: a chain whose newest table has no
  /// room for the others' entries, or a table that is much too large for what its bucket has and, at its present pace,
  /// will have.
  struct Replacement {
    unsigned position;
    std::uint64_t slots;
  };
  using Refuses = std::function<bool(std::uint64_t bucket)>;  // Those that cannot be copied.
  std::optional<Replacement> replacement(const View& view, const Pace& pace, std::int64_t now_us,
                                         const TooSmall& too_small, const Refuses& refuses) const;

  /// Whether the chain of the current bucket cannot heal because its newest table has no room and no other one is built
  /// while a spare one waits for producers, who may not come.
  static bool needs_spare(const View& view, const TooSmall& too_small);

  /// The lines of the next filter generation, by the same rules: for the current bucket ...
  static std::optional<std::uint64_t> next_generation(const View& view, const Pace& pace, std::int64_t now_us);
  /// ... and in the place of several, the newest of which is too small for the largest bucket, or of one that is much
  /// too large for all buckets.
  std::optional<std::uint64_t> generation_replacement(const View& view, const Pace& pace, std::int64_t now_us) const;

  /// Whether the newest of several generations is large enough for every bucket.
  static bool newest_fits_all(const View& view);

  /// Whether the newest of several tables has room for what the others have and it has not.
  static bool newest_holds_all(const View::Bucket& bucket);

  /// Whether hints take more than 1.5 times the memory of the right plan. So what grew by the least is not oversized.
  static constexpr bool oversized(std::uint64_t have, std::uint64_t right) { return have > right + right / 2; }
};

}  // namespace oncelog::internal
