#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/message_hash.h"
#include "base/store_locks.h"
#include "shared/view.h"

namespace oncelog::internal {

/// A record of the log whose hints are copied.
struct CopiedRecord {
  MessageHash hash;
  Lsn lsn;
};

/// A record's place in its chain; or that of several that follow each other, from the first one's `previous` to the
/// last one's `lsn`.
struct CopiedLink {
  MessageHash correlation;
  Lsn lsn;
  Lsn previous;  // The record before it.
};

/// The records [from, to) of a copy that is still to be made.
struct CopyRange {
  Lsn begin;  // Of all that is copied in the end: a record begins here, unless it was dropped.
  Lsn from;
  Lsn to;
  bool ends;  // What is copied can be published then; otherwise more has to come into the log before.

  bool left() const { return from < to; }
  std::uint64_t bytes() const { return left() ? to.value - from.value : 0; }
  bool holds(Lsn lsn) const { return from <= lsn && lsn < to; }
};

/// The entries of a bucket's records, copied into a table that is to replace the bucket's others. Made from a view, and
/// used by the holder of the writer gate; the store's mutex, too, is needed for copies into a table that is in use.
struct TableCopy {
  std::uint64_t bucket;
  Lsn first_lsn;  // Of the bucket.
  std::shared_ptr<IndexTable> table;
  bool building;  // Nobody else uses the table.
  CopyRange range;

  /// Into the table that is built; `flushed` is where the log ends at least. Nothing when there is none.
  static std::optional<TableCopy> into_built(const View& view, Lsn flushed);
  /// Into the newest table of the bucket at this position, when there are others and it has room.
  static std::optional<TableCopy> into_newest(const View& view, unsigned position, Lsn flushed);

  /// False when there is no room. What is there already is not added again: of links that holds where those that follow
  /// each other in what is copied at a time are joined.
  bool add(const CopiedRecord& record) const;
  bool add(const CopiedLink& link) const;

  /// Makes the layout after the copy: a built table comes behind the others of the current bucket, or in the place of
  /// those of an earlier one; tables before a newest one that has everything are dropped. False when the layout has
  /// changed so that there is nothing to do.
  bool publish(Layout& layout, Lsn head) const REQUIRES(kStoreMutex);

 private:
  std::uint64_t offset(Lsn lsn) const { return (lsn.value - first_lsn.value) / kRecordUnit; }
  bool has_below(Lsn end) const { return std::max(table->copied(), first_lsn) >= end; }
  bool publish_built(Layout& layout, unsigned position, Lsn head) const;
  bool publish_newest(Layout& layout, unsigned position) const;
};

/// The bits of all live records, copied into a generation that is to replace the others. As TableCopy.
struct FilterCopy {
  std::shared_ptr<FilterGeneration> filter;
  bool building;
  CopyRange range;

  static std::optional<FilterCopy> into_built(const View& view, Lsn flushed);
  static std::optional<FilterCopy> into_newest(const View& view, Lsn flushed);

  /// Adds `hash` for the record at `lsn`, if that is in the range and its bucket in the layout. What is there already
  /// is not counted again.
  void add(const MessageHash& hash, Lsn lsn, const Layout& layout) const;
  bool publish(Layout& layout, Lsn head) const REQUIRES(kStoreMutex);
};

}  // namespace oncelog::internal
