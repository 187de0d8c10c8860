#include "maintenance/hint_check.h"

#include <fmt/format.h>

namespace oncelog::internal {

void HintCheck::look(const RecordView& record, const MessageHash& hash, Lsn lsn) {
  constexpr std::uint64_t kRecordsPerView = 4096;  // A view that is held keeps the space of what has expired.
  if ((record.header.flags() & kVoid) != 0 || !is_live_(record.processed_us())) return;
  if (!view_ || looked_up_ % kRecordsPerView == 0) view_ = views_.newest();
  ++looked_up_;
  const auto note = [&](Miss miss, std::uint64_t bucket, bool of_correlation) {
    if (miss == Miss::none) return;
    Missing& missing = missing_[bucket];
    if (missing.by_filter + missing.by_index == 0) missing.first = lsn;
    ++(miss == Miss::by_filter ? missing.by_filter : missing.by_index);
    missing.of_correlations += of_correlation;
  };
  std::uint64_t bucket = 0;
  note(look_again(hash, MessageHash::Of::message, lsn, bucket), bucket, false);
  if (const std::string_view correlation = record.correlation(); !correlation.empty()) {
    const MessageHash chain(correlation_seed_, correlation);
    note(look_again(chain, MessageHash::Of::correlation, lsn, bucket), bucket, true);
  }
}

HintCheck::Miss HintCheck::look_again(const MessageHash& hash, MessageHash::Of of, Lsn lsn, std::uint64_t& bucket) {
  if (miss(*view_, hash, of, lsn, bucket) == Miss::none) return Miss::none;
  view_ = views_.newest();
  return miss(*view_, hash, of, lsn, bucket);
}

HintCheck::Miss HintCheck::miss(const View& view, const MessageHash& hash, MessageHash::Of of, Lsn lsn,
                                std::uint64_t& bucket) const {
  const View::Bucket* home = nullptr;
  for (const View::Bucket& candidate : view.buckets) {
    if (candidate.info.first_lsn <= lsn) home = &candidate;
  }
  if (home == nullptr) return Miss::none;  // Dropped.
  bucket = home->info.number;
  if ((view.candidates(hash) >> home->info.lane & 1) == 0) return Miss::by_filter;
  const std::uint64_t wanted = (lsn.value - home->info.first_lsn.value) / kRecordUnit;
  bool found = false;
  for (const auto& table : home->tables) {
    // A correlation's entry is moved on to the newest record of its chain.
    table->each(hash, of, [&](std::uint64_t offset) {
      found = found || (of == MessageHash::Of::message ? offset == wanted : offset >= wanted);
    });
  }
  return found ? Miss::none : Miss::by_index;
}

void HintCheck::report(Problems& problems) {
  constexpr const char* kMeaning = "the ids of those records are reported fresh although they were processed";
  constexpr const char* kRemedy = "close the store in every process, then: oncelog repair --hints --store STORE";
  for (const auto& [bucket, missing] : missing_) {
    problems.add(ProblemKind::hint, fmt::format("bucket {}", bucket),
                 fmt::format("{} look-ups of live records end in the filter and {} in the index ({} of these are of "
                             "correlations), the first at LSN {}",
                             missing.by_filter, missing.by_index, missing.of_correlations, missing.first.value),
                 kMeaning, kRemedy);
  }
  view_ = views_.newest();
  for (const View::Bucket& bucket : view_->buckets) {
    for (std::size_t i = 0; i < bucket.tables.size(); ++i) {
      const std::uint64_t occupied = bucket.tables[i]->occupied();
      // Read afterwards: entries are counted before they are there.
      const std::uint64_t count = bucket.tables[i]->count();
      if (count >= occupied && count <= bucket.tables[i]->slots()) continue;
      problems.add(ProblemKind::hint, index_name(bucket.info.number, bucket.info.first_part + i),
                   fmt::format("the table counts {} entries, but has {}", count, occupied),
                   "it may fill up, or be taken for full", kRemedy);
    }
  }
  view_.reset();
}

}  // namespace oncelog::internal
