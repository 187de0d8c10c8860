#include "background/hint_copies.h"

#include <algorithm>

#include "background/growth.h"
#include "base/failpoint.h"
#include "window/buckets.h"

namespace oncelog::internal {
namespace {

/// The position of the bucket in the layout, bucket_count when it was dropped.
unsigned position_of(const Layout& layout, std::uint64_t bucket) {
  unsigned position = 0;
  while (position < layout.bucket_count && layout.buckets[position].number != bucket) ++position;
  return position;
}

/// The bucket that a record at `lsn` belongs to, null when it was dropped.
const BucketInfo* bucket_of(const Layout& layout, Lsn lsn) {
  for (unsigned i = layout.bucket_count; i-- > 0;) {
    if (layout.buckets[i].first_lsn <= lsn) return &layout.buckets[i];
  }
  return nullptr;
}

/// `copied` is what the file says. What is not in the log yet cannot have been copied; then it is copied again.
CopyRange range_up_to(Lsn begin, Lsn copied, Lsn to, Lsn flushed) {
  const bool possible = copied.value % kRecordUnit == 0 && copied <= flushed;
  return {begin, possible ? std::max(begin, copied) : begin, std::min(to, flushed), to <= flushed};
}

void reach(IndexTable& table, Lsn end) {
  table.reach(std::max(table.reached(), end));
}

/// Whether the newest generation has far more ids of the current bucket than it should.
bool overfull(const View& view) {
  const FilterGeneration& newest = *view.generations.back();
  return !view.buckets.empty() &&
         newest.count(view.buckets.back().info.lane) >= 2 * FilterGeneration::capacity_of(newest.lines());
}

}  // namespace

std::optional<TableCopy> TableCopy::into_built(const View& view, Lsn flushed) {
  if (!view.built_table || view.built_table->allocated() != 0) return std::nullopt;
  const unsigned position = position_of(view.layout, view.layout.building_bucket);
  const BucketInfo& bucket = view.layout.buckets[position];
  // What the current bucket has beyond the log follows when the table is in use.
  const Lsn to = view.bucket_end(position, flushed);
  const CopyRange range = range_up_to(bucket.first_lsn, view.built_table->copied(), to, flushed);
  return TableCopy{bucket.number, bucket.first_lsn, view.built_table, true, range};
}

std::optional<TableCopy> TableCopy::into_newest(const View& view, unsigned position, Lsn flushed) {
  const View::Bucket& bucket = view.buckets[position];
  if (bucket.tables.size() < 2 || !Growth::newest_holds_all(bucket)) return std::nullopt;
  const auto& newest = bucket.tables.back();
  const Lsn to = bucket.info.table_lsn[bucket.info.tables - 1];
  const CopyRange range = range_up_to(bucket.info.first_lsn, newest->copied(), to, flushed);
  return TableCopy{bucket.info.number, bucket.info.first_lsn, newest, false, range};
}

bool TableCopy::add(const CopiedRecord& record) const {
  const auto copied = table->copy(record.hash, MessageHash::Of::message, offset(record.lsn));
  if (copied == IndexTable::Copied::no_room) return false;
  if (copied == IndexTable::Copied::added) table->count_copied_record();
  failpoint();
  return true;
}

/// One entry for each chain: that of an older record moves on, as when records are accepted.
bool TableCopy::add(const CopiedLink& link) const {
  const bool moved = link.previous >= first_lsn && table->move(link.correlation, MessageHash::Of::correlation,
                                                               offset(link.previous), offset(link.lsn));
  failpoint();
  if (moved) return true;
  return table->copy(link.correlation, MessageHash::Of::correlation, offset(link.lsn)) != IndexTable::Copied::no_room;
}

bool TableCopy::publish(Layout& layout, Lsn head) const {
  const unsigned position = position_of(layout, bucket);
  if (position == layout.bucket_count) return false;
  return building ? publish_built(layout, position, head) : publish_newest(layout, position);
}

bool TableCopy::publish_built(Layout& layout, unsigned position, Lsn head) const {
  if (layout.building_slots == 0 || layout.building_bucket != bucket) return false;
  if (position + 1 == layout.bucket_count) {
    if (layout.current().tables == kMaxTables) return false;
    grow_by_built_table(layout, head);
    return true;
  }
  const Lsn end = layout.buckets[position + 1].first_lsn;
  if (!has_below(end)) return false;  // The bucket was still the current one.
  reach(*table, end);
  replace_tables(layout, position);
  return true;
}

bool TableCopy::publish_newest(Layout& layout, unsigned position) const {
  const BucketInfo& info = layout.buckets[position];
  const Lsn end = info.table_lsn[info.tables - 1];
  if (info.tables < 2 || !has_below(end)) return false;
  reach(*table, end);
  drop_older_tables(layout, position);
  return true;
}

std::optional<FilterCopy> FilterCopy::into_built(const View& view, Lsn flushed) {
  if (!view.built_generation || view.built_generation->allocated() != 0) return std::nullopt;
  const Lsn begin = oldest_lsn(view.layout, flushed);
  CopyRange range = range_up_to(begin, view.built_generation->copied(), flushed, flushed);
  // Where marks come faster than copies, the present one would fill up without end. The rest follows in use.
  if (overfull(view)) range.to = range.from;
  return FilterCopy{view.built_generation, true, range};
}

std::optional<FilterCopy> FilterCopy::into_newest(const View& view, Lsn flushed) {
  // Of as many as there may be the newest takes everything: fresh ids cost more until it is replaced, but no others.
  const bool last = view.generations.size() == kMaxGenerations;
  if (view.generations.size() < 2 || (!last && !Growth::newest_fits_all(view))) return std::nullopt;
  const auto& newest = view.generations.back();
  const Lsn to = view.layout.newest_generation().first_lsn;
  return FilterCopy{newest, false, range_up_to(oldest_lsn(view.layout, to), newest->copied(), to, flushed)};
}

void FilterCopy::add(const MessageHash& hash, Lsn lsn, const Layout& layout) const {
  if (!range.holds(lsn)) return;
  if (const BucketInfo* const bucket = bucket_of(layout, lsn)) filter->copy(hash, bucket->lane);
  failpoint();
}

bool FilterCopy::publish(Layout& layout, Lsn head) const {
  if (building) {
    if (layout.building_lines == 0 || layout.generation_count == kMaxGenerations) return false;
    grow_by_built_generation(layout, head);
    return true;
  }
  const Lsn begin = layout.newest_generation().first_lsn;
  if (layout.generation_count < 2 || std::max(filter->copied(), oldest_lsn(layout, begin)) < begin) return false;
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    const bool current = i + 1 == layout.bucket_count;
    const Lsn end = current ? begin : std::min(begin, layout.buckets[i + 1].first_lsn);
    filter->reach(layout.buckets[i].lane, std::max(filter->reached(layout.buckets[i].lane), end));
  }
  drop_older_generations(layout);
  return true;
}

}  // namespace oncelog::internal
