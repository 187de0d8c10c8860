#pragma once

#include "engine/opened_store.h"
#include "engine/reader.h"

namespace oncelog::internal {

/// What a record that was found means. There are two questions, since a transaction's records are in the log before it
/// has committed.

/// For decisions: the record is the message's processing, within the retention. A transaction's that may yet be void is
/// not: a decision has it settled first.
inline bool is_processed(const OpenedStore& store, const Found& found) {
  return found.is_message() && store.within_retention(found.time_us);
}

/// For reads, which decide nothing and wait for nobody: the record is there, within the retention. A transaction's may
/// be committed and not yet say so, because the transaction died in between or is about to: the log's end tells.
inline bool is_visible(const OpenedStore& store, Reader& reader, std::uint32_t flags, Lsn lsn, std::int64_t time_us) {
  const bool there = (flags & kVoid) == 0 && ((flags & kUncommitted) == 0 || lsn < reader.log_end());
  return there && store.within_retention(time_us);
}
/// The same of an id's newest record, which may be the note that it is forgotten.
inline bool is_visible(const OpenedStore& store, Reader& reader, const Found& found) {
  return (found.flags & kForgotten) == 0 && is_visible(store, reader, found.flags, found.lsn, found.time_us);
}

}  // namespace oncelog::internal
