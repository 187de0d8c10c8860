#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "lmdb/catalog.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// Turns the rows of the table `buckets` into the buckets of a rebuild. Rows are hints: they only say where in the log
/// one bucket ends and the next begins.

/// By bucket number, ascending: (number, row).
using BucketRows = std::vector<std::pair<std::uint64_t, BucketRow>>;

/// The header of the last record that begins below `end`; nothing when there is none. Not verified by its checksum:
/// where it decides anything, the record is read again.
std::optional<RecordHeader> last_header_below(const lmdb::ReadTxn& txn, Lsn end);

/// Corrects the rows by the log, which overrules them. A row that cannot be right merges its bucket with the one before
/// it.
BucketRows sound_rows(const BucketRows& rows, const lmdb::ReadTxn& txn, Lsn log_begin, Lsn log_end,
                      const BucketRules& rules, std::int64_t now_us, std::int64_t known_since_us);

/// The rows of live buckets, at most one fewer than there are lanes; if there are more, because the clock went back
/// between two boots, the oldest are merged. Raises `known_since_us` above the newest record of the buckets that are
/// left out: by a clock that is set back later, those may not be past their retention.
BucketRows live_rows(BucketRows rows, const BucketRules& rules, std::int64_t now_us, std::int64_t& known_since_us);

}  // namespace oncelog::internal
