#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include <oncelog/record.h>

#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "maintenance/stored_values.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// The new store that repair() writes, a commit at a time. Its bucket rows are rebuilt from the records. Used by one
/// thread.
class SalvagedStore {
 public:
  SalvagedStore(const std::filesystem::path& directory, std::uint64_t map_bytes, const StoreIdentity& identity);

  /// Adds a run of whole records, above all before it. What is left out in between is noted as a gap.
  void append(Lsn lsn, std::span<const std::byte> bytes);

  /// False when there is one of that key already and `spare` says to leave it.
  bool put(std::string_view key, std::span<const std::byte> value, bool spare);

  void put_scope(std::string_view name, std::uint32_t number);

  void put_number(Catalog::Number which, std::uint64_t value) { catalog_->put_number(*txn_, which, value); }

  /// Writes what is known only at the end, and the last commit. `older_gaps`: those of the damaged store.
  void finish(std::uint64_t token_epoch, std::uint64_t known_since_us, const Gaps& older_gaps);

  Lsn end() const { return end_; }
  std::uint64_t records() const { return records_; }
  std::uint32_t highest_scope() const { return highest_scope_; }
  bool has_new_gaps(const Gaps& known) const;

 private:
  using Gap = Gaps::value_type;

  void begin() { txn_.emplace(env_); }
  void make_room(std::size_t bytes);
  void count(const RecordView& record, Lsn lsn);
  void close_row();

  lmdb::Env env_;
  const StoreIdentity identity_;
  const BucketRules rules_;
  std::optional<lmdb::WriteTxn> txn_;
  std::optional<Catalog> catalog_;
  std::optional<Log> log_;
  MDB_dbi user_ = 0;
  std::uint64_t written_ = 0;
  Lsn end_;
  Gaps gaps_;
  std::uint64_t number_ = 0;
  BucketRow row_;
  std::uint64_t records_ = 0;
  std::uint32_t highest_scope_ = 0;
};

}  // namespace oncelog::internal
