#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "background/hint_copies.h"

namespace oncelog::internal {

/// Which of several processes reads the log for what is copied: otherwise all would read the same, and only the first
/// to add it would have read it for something. There is no election: whoever sees that another process has come further
/// leaves it to that one, and goes on when it comes no further for kOthersUs.
///
/// Thread safety: look() and came_further() by one thread; is_others() by any.
class ReadingTurn {
 public:
  static constexpr std::int64_t kOthersUs = 1'000'000;

  /// Looks how far these copies have come by `now_us`, a boot time.
  void look(const std::optional<TableCopy>& table, const std::optional<FilterCopy>& filter, std::int64_t now_us);
  /// This process has come further since.
  void came_further() { came_further_ = true; }

  bool is_others(std::int64_t now_us) const { return now_us < others_until_us_.load(std::memory_order_relaxed); }

 private:
  struct Place {
    std::uint64_t bucket = 0;
    std::uint64_t slots = 0;
    std::uint64_t lines = 0;
    Lsn table_copied = {};
    Lsn filter_copied = {};

    bool is_behind(const Place& other) const;
  };

  Place place_;                                   // As it was seen last,
  bool came_further_ = false;                     // and whether this process has come further since.
  std::atomic<std::int64_t> others_until_us_{0};  // A boot time. Relaxed: it only plans.
};

}  // namespace oncelog::internal
