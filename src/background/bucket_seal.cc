#include "background/bucket_seal.h"

#include <algorithm>

#include "base/failpoint.h"
#include "shared/directory.h"

namespace oncelog::internal {

BucketSeal::BucketSeal(std::shared_ptr<const View> view, const Plan& plan, const Uuid& store_file_id,
                       const std::filesystem::path& directory)
    : view_(std::move(view)),
      table_(view_->buckets[plan.position].newest_table()),
      filter_(*view_->generations.back()),
      lane_(view_->buckets[plan.position].info.lane),
      number_(view_->buckets[plan.position].info.number),
      directory_(directory) {
  note_.store_file_id = store_file_id;
  note_.first_lsn = view_->buckets[plan.position].info.first_lsn.value;
  note_.end = plan.end.value;
  note_.slots = table_.slots();
  note_.lines = filter_.lines();
  note_.entries = View::Bucket::entries_of(table_);
  note_.column_ids = filter_.count(lane_);
  if (!keeps_table(plan.former)) return;
  table_kept_ = true;
  note_.entries = plan.former->entries;
  note_.table_checksum = plan.former->table_checksum;
  stage_ = Stage::column;
}

/// Whether only the column has to be made: the generation was replaced by one of another size.
bool BucketSeal::keeps_table(const std::optional<SealedNote>& former) const {
  return former && former->end == note_.end && former->slots == note_.slots;
}

std::uint64_t BucketSeal::bytes() const {
  const std::uint64_t column = SealedFile::column_of(number_, note_).bytes;
  return table_kept_ ? column : column + SealedFile::index_of(number_, note_).bytes;
}

bool BucketSeal::copy_some() {
  failpoint();
  switch (stage_) {
    case Stage::table:
      copy_table();
      break;
    case Stage::table_sync:
      table_file_->sync();
      stage_ = Stage::column;
      break;
    case Stage::column:
      copy_column();
      break;
    case Stage::column_sync:
      column_file_->sync();
      stage_ = Stage::publish;
      break;
    case Stage::publish:
      publish();
      stage_ = Stage::done;
      break;
    case Stage::done:
      break;
  }
  failpoint();
  return stage_ != Stage::done;
}

/// Makes it, with its header.
void BucketSeal::begin_file(std::optional<NewFile>& made, const SealedFile& file, const IndexTable::Counts& counts) {
  made.emplace(directory_ / file.name);
  std::vector<std::byte> header(kFileHeaderBytes);
  store_stamp(header.data(), file.new_stamp());
  IndexTable::store_counts(header.data(), counts);
  checksum_.emplace(header);
  made->append(header);
  next_ = 0;
}

void BucketSeal::copy_table() {
  if (!table_file_) begin_file(table_file_, SealedFile::index_of(number_, note_), table_.counts(Lsn{note_.end}));
  slots_.resize(std::min(kTableBytes / sizeof(std::uint64_t), note_.slots - next_));
  table_.read_slots(next_, slots_);
  next_ += slots_.size();
  const auto bytes = std::as_bytes(std::span(slots_));
  checksum_->add(bytes);
  table_file_->append(bytes);
  if (next_ < note_.slots) return;
  note_.table_checksum = checksum_->value();
  stage_ = Stage::table_sync;
}

void BucketSeal::copy_column() {
  if (!column_file_) begin_file(column_file_, SealedFile::column_of(number_, note_), {});
  rows_.resize(std::min(kColumnBytes / sizeof(LaneRows), note_.lines - next_));
  for (LaneRows& rows : rows_) rows = filter_.lane_rows(next_++, lane_);
  const auto bytes = std::as_bytes(std::span(rows_));
  checksum_->add(bytes);
  column_file_->append(bytes);
  if (next_ < note_.lines) return;
  note_.column_checksum = checksum_->value();
  stage_ = Stage::column_sync;
}

/// The directory is synced after both have their names, and before anybody may note them.
void BucketSeal::publish() {
  if (table_file_) table_file_->publish();
  failpoint();
  column_file_->publish();
  failpoint();
  sync_directory(directory_, true);
}

}  // namespace oncelog::internal
