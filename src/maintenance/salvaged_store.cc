#include "maintenance/salvaged_store.h"

#include <algorithm>
#include <vector>

namespace oncelog::internal {
namespace {

constexpr std::uint64_t kBytesPerCommit = std::uint64_t{16} << 20;

}  // namespace

SalvagedStore::SalvagedStore(const std::filesystem::path& directory, std::uint64_t map_bytes,
                             const StoreIdentity& identity)
    : env_(directory, MDB_NOTLS | MDB_NORDAHEAD, map_bytes, 8, 8),
      identity_(identity),
      rules_(BucketRules::make(identity.retention_us, identity.buckets, BucketRules::kMinPlannedIds)) {
  begin();
  catalog_.emplace(*txn_, MDB_CREATE);
  log_.emplace(*txn_, MDB_CREATE);
  user_ = txn_->open_table("user", MDB_CREATE);
  catalog_->put_identity(*txn_, identity_);
}

void SalvagedStore::append(Lsn lsn, std::span<const std::byte> bytes) {
  if (end_.value != 0 && lsn > end_) gaps_.emplace_back(end_.value, lsn.value);
  make_room(bytes.size());
  std::ranges::copy(bytes, log_->append(*txn_, lsn, bytes.size()).begin());
  for (std::size_t at = 0; at < bytes.size();) {
    const auto record = decode_record(bytes.subspan(at));
    if (!record) break;  // Cannot be: they are whole.
    count(*record, Lsn{lsn.value + at});
    at += record->header.bytes();
  }
  end_ = Lsn{lsn.value + bytes.size()};
}

bool SalvagedStore::put(std::string_view key, std::span<const std::byte> value, bool spare) {
  make_room(key.size() + value.size());
  MDB_val key_val = lmdb::to_val(lmdb::to_bytes(key));
  MDB_val value_val = lmdb::to_val(value);
  const int code = mdb_put(txn_->get(), user_, &key_val, &value_val, spare ? MDB_NOOVERWRITE : 0);
  if (code == MDB_KEYEXIST) return false;
  env_.check(code, "mdb_put");
  return true;
}

void SalvagedStore::put_scope(std::string_view name, std::uint32_t number) {
  make_room(name.size());
  const ScopeRow row = ScopeRow::of(name, number);
  txn_->put(txn_->open_table("scopes", 0), lmdb::to_val(lmdb::to_bytes(name)), std::as_bytes(std::span(&row, 1)));
}

void SalvagedStore::finish(std::uint64_t token_epoch, std::uint64_t known_since_us, const Gaps& older_gaps) {
  close_row();
  catalog_->put_number(*txn_, Catalog::Number::token_epoch, token_epoch);
  catalog_->put_number(*txn_, Catalog::Number::known_since_us, known_since_us);
  Gaps gaps;
  for (const Gap& gap : older_gaps) {
    // One that lies within a new gap is part of it.
    const bool covered = std::ranges::any_of(
        gaps_, [&](const auto& wider) { return wider.first <= gap.first && gap.second <= wider.second; });
    if (!covered) gaps.push_back(gap);
  }
  gaps.insert(gaps.end(), gaps_.begin(), gaps_.end());
  std::ranges::sort(gaps);
  if (!gaps.empty()) {
    std::vector<std::uint64_t> words;
    for (const auto& [begin, end] : gaps) words.insert(words.end(), {begin, end});
    txn_->put(txn_->open_table("meta", 0), lmdb::to_val(lmdb::to_bytes(kGapsKey)), std::as_bytes(std::span(words)));
    catalog_->seal_meta(*txn_);
  }
  txn_->commit();
  txn_.reset();
}

bool SalvagedStore::has_new_gaps(const Gaps& known) const {
  return std::ranges::any_of(gaps_, [&](const auto& gap) {
    return std::ranges::none_of(known,
                                [&](const auto& old) { return old.first <= gap.first && gap.second <= old.second; });
  });
}

void SalvagedStore::make_room(std::size_t bytes) {
  written_ += bytes;
  if (written_ < kBytesPerCommit) return;
  txn_->commit();
  begin();
  written_ = 0;
}

/// A bucket for each slice of time.
void SalvagedStore::count(const RecordView& record, Lsn lsn) {
  const std::int64_t time_us = record.header.time_us();
  if (number_ == 0 || time_us >= row_.slice_begin_us + rules_.slice_us) {
    close_row();
    ++number_;
    row_ = {lsn.value, rules_.slice_begin(time_us), 0, 0};
  }
  row_.entries += record.header.has_attributes() ? 2 : 1;
  row_.newest_us = std::max(row_.newest_us, time_us);
  ++records_;
  if ((record.header.flags() & kVoid) == 0) highest_scope_ = std::max(highest_scope_, record.header.scope);
}

void SalvagedStore::close_row() {
  if (number_ != 0) catalog_->put_bucket(*txn_, number_, row_);
}

}  // namespace oncelog::internal
