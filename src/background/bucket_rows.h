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

/// What the rows of the table `buckets` are worth: hints, which only say where in the log one bucket ends and the next
/// begins. Used by recovery, which makes buckets of them again.

/// By bucket number, ascending: (number, row).
using BucketRows = std::vector<std::pair<std::uint64_t, BucketRow>>;

/// The header of the last record that begins below `end`; nothing when the log has none. Not checked against its
/// checksum: whoever decides by it reads the record again.
std::optional<RecordHeader> last_header_below(const lmdb::ReadTxn& txn, Lsn end);

/// What the rows say of the log, where the log does not contradict them. They are hints: only where one bucket ends
/// and the next begins is theirs to say, and a row that cannot be right joins its bucket with the one before it.
BucketRows sound_rows(BucketRows rows, const lmdb::ReadTxn& txn, Lsn log_begin, Lsn log_end, const BucketRules& rules,
                      std::int64_t now_us, std::int64_t known_since_us);

/// Those of live buckets, as many as there are lanes but one: where more are (the clock went back between two boots)
/// the oldest are joined. Raises `known_since_us` over what the others had: by a clock that is set back later that may
/// not be past its retention.
BucketRows live_rows(BucketRows rows, const BucketRules& rules, std::int64_t now_us, std::int64_t& known_since_us);

}  // namespace oncelog::internal
