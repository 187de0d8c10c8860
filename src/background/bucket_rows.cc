#include "background/bucket_rows.h"

#include <algorithm>

#include "shared/shared_state.h"

namespace oncelog::internal {
namespace {

constexpr Lsn kFirstLsn = SharedState::kFirstLsn;
// One of the kLanes lanes is kept for the next bucket, so that the first mark finds one.
constexpr std::size_t kMaxRebuiltBuckets = kMaxLiveBuckets - 1;

}  // namespace

std::optional<RecordHeader> last_header_below(const lmdb::ReadTxn& txn, Lsn end) {
  const auto block = Log::last_block_below(txn, end);
  if (!block) return std::nullopt;
  std::optional<RecordHeader> last;
  Lsn lsn = block->lsn;
  for (lmdb::Bytes rest = block->bytes; lsn < end && rest.size() >= kRecordHeaderBytes;) {
    const RecordHeader header = RecordHeader::load(rest.data());
    if (!header.well_formed() || header.bytes() > rest.size()) break;  // Reported when the records are read.
    last = header;
    rest = rest.subspan(header.bytes());
    lsn.value += header.bytes();
  }
  return last;
}

BucketRows sound_rows(const BucketRows& rows, const lmdb::ReadTxn& txn, Lsn log_begin, Lsn log_end,
                      const BucketRules& rules, std::int64_t now_us, std::int64_t known_since_us) {
  BucketRows sound;
  for (const auto& [number, row] : rows) {
    const bool possible = row.first_lsn % kRecordUnit == 0 && row.first_lsn >= kFirstLsn.value;
    if (possible && row.first_lsn >= log_end.value) continue;
    if (sound.empty()) {
      sound.emplace_back(number, row);
      if (!possible) sound[0].second.first_lsn = log_begin.value;
    } else if (possible && row.first_lsn > sound.back().second.first_lsn) {
      sound.emplace_back(number, row);
    } else {
      BucketRow& before = sound.back().second;
      if (possible) before.first_lsn = std::min(before.first_lsn, row.first_lsn);
      before.entries = std::max(before.entries, row.entries);
    }
  }
  // Records below the first row are either forgotten and not deleted yet, or those of a row that is lost.
  const Lsn first = sound.empty() ? log_end : Lsn{sound[0].second.first_lsn};
  if (const auto last = log_begin < first ? last_header_below(txn, first) : std::nullopt;
      last && last->time_us() >= known_since_us && !rules.past_retention(last->time_us(), now_us)) {
    if (sound.empty()) sound.emplace_back(1, BucketRow{.slice_begin_us = rules.slice_begin(last->time_us())});
    sound[0].second.first_lsn = log_begin.value;
  }
  for (std::size_t i = 0; i < sound.size(); ++i) {
    BucketRow& row = sound[i].second;
    const Lsn end = i + 1 == sound.size() ? log_end : Lsn{sound[i + 1].second.first_lsn};
    // The last record's time: times are in the order of their LSNs.
    if (const auto last = last_header_below(txn, end)) row.newest_us = last->time_us();
    row.newest_us = std::clamp(row.newest_us, std::int64_t{0}, kMaxTimeUs);
    row.slice_begin_us = std::clamp(row.slice_begin_us, std::int64_t{0}, kMaxTimeUs);
    row.entries = std::min(row.entries, (end.value - row.first_lsn) / kRecordHeaderBytes);
  }
  return sound;
}

BucketRows live_rows(BucketRows rows, const BucketRules& rules, std::int64_t now_us, std::int64_t& known_since_us) {
  std::erase_if(rows, [&](const auto& row) {
    const bool past = rules.past_retention(row.second.newest_us, now_us);
    if (past) known_since_us = std::max(known_since_us, row.second.newest_us + 1);
    return past;
  });
  while (rows.size() > kMaxRebuiltBuckets) {
    // Under the older bucket's number: rows below the oldest live bucket's are deleted, and the next rebuild needs
    // both.
    rows[0].second.newest_us = std::max(rows[0].second.newest_us, rows[1].second.newest_us);
    rows[0].second.entries += rows[1].second.entries;
    rows.erase(rows.begin() + 1);
  }
  return rows;
}

}  // namespace oncelog::internal
