#include "background/reading_turn.h"

#include <utility>

namespace oncelog::internal {

void ReadingTurn::look(const std::optional<TableCopy>& table, const std::optional<FilterCopy>& filter,
                       std::int64_t now_us) {
  Place now;
  if (table) {
    now.bucket = table->bucket;
    now.slots = table->table->slots();
    now.table_copied = table->table->copied();
  }
  if (filter) {
    now.lines = filter->filter->lines();
    now.filter_copied = filter->filter->copied();
  }
  const Place before = std::exchange(place_, now);
  const bool own = std::exchange(came_further_, false);
  if (!own && before.is_behind(now)) others_until_us_.store(now_us + kOthersUs, std::memory_order_relaxed);
}

/// Whether the other one is of the same table or the same generation, and further.
bool ReadingTurn::Place::is_behind(const Place& other) const {
  const bool same_table = slots != 0 && bucket == other.bucket && slots == other.slots;
  const bool same_filter = lines != 0 && lines == other.lines;
  return (same_table && table_copied < other.table_copied) || (same_filter && filter_copied < other.filter_copied);
}

}  // namespace oncelog::internal
