#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <oncelog/options.h>
#include <oncelog/record.h>

#include "base/host.h"
#include "lmdb/handles.h"

namespace oncelog::internal {

/// The small tables of LMDB beside the log: the store's identity and numbers (`meta`), its time buckets (`buckets`),
/// and the numbers of its scopes (`scopes`). Values are fixed little-endian structs, checked for their size when read.

/// Of every store that is opened for writing.
inline constexpr std::uint32_t kFormatVersion = 3;
/// The format of a store from its first import on: versions that do not know imported records must not open it.
inline constexpr std::uint32_t kFormatWithImports = 4;
inline constexpr std::uint32_t kNewestFormat = kFormatWithImports;

/// Written when the store is created. Later only format_version changes: when a newer version of the library opens the
/// store, and with the first import.
struct StoreIdentity {
  std::uint32_t format_version = kFormatVersion;
  std::uint32_t buckets = 0;
  Uuid store_id{};
  std::uint64_t hash_seed = 0;  // Secret: it is enough to make ids collide.
  std::int64_t retention_us = 0;
};
static_assert(sizeof(StoreIdentity) == 40);

/// The identity of a store that is about to be made; what is not given has its default. Throws Error::io.
StoreIdentity new_identity(std::optional<unsigned> buckets, std::optional<std::chrono::milliseconds> retention);

/// One time bucket as of the last flush that wrote records of it.
struct BucketRow {
  std::uint64_t first_lsn = 0;
  std::int64_t slice_begin_us = 0;
  std::int64_t newest_us = 0;
  std::uint64_t entries = 0;  // In its index, at most: one for each record, two for one with attributes.
};
static_assert(sizeof(BucketRow) == 32);

/// A scope's number, with a checksum over it and the scope's name: if a byte of the name changed, no id of the scope
/// would be found, and all of them would be fresh. Formats 1 and 2 store the number alone.
struct ScopeRow {
  std::uint32_t number = 0;
  std::uint32_t checksum = 0;

  static ScopeRow of(std::string_view name, std::uint32_t number);
  /// The number in a row of either kind; nothing when it is damaged.
  static std::optional<std::uint32_t> number_in(lmdb::Bytes row, std::string_view name);
};
static_assert(sizeof(ScopeRow) == 8);

/// Over all entries of `meta` in their order, the entry with the checksum itself left out: a changed retention would
/// make ids fresh too early, a changed name would hide a number. Formats 1 and 2 have none.
class MetaChecksum {
 public:
  static constexpr std::string_view kKey = "checksum";
  static constexpr std::uint32_t kSince = 3;  // Format version.

  void add(std::string_view key, lmdb::Bytes value);
  std::uint64_t value() const { return sum_; }

 private:
  std::uint64_t sum_ = 0;
};

/// What of a bucket's hints is on disk beside data.mdb, complete and unchanging: a copy of its index table and of its
/// column of the filter. Written after the files were synced, so that it holds whatever a power failure takes. One that
/// does not match its checksum, its bucket or data.mdb itself is no note: hints are rebuilt without it.
struct SealedNote {
  static constexpr std::uint64_t kVersion = 1;  // Of how hashes, slots and lines are laid out.

  std::uint64_t version = kVersion;
  Uuid store_file_id{};         // A copy of data.mdb has another, and not these files.
  std::uint64_t first_lsn = 0;  // Of the bucket. It and the bucket's number name one bucket for ever.
  std::uint64_t end = 0;        // All records of the bucket below this LSN have their hints in the files.
  std::uint64_t entries = 0;    // Of the table.
  std::uint64_t slots = 0;
  std::uint64_t table_checksum = 0;
  std::uint64_t column_ids = 0;  // Ids added in the filter's lane.
  std::uint64_t lines = 0;
  std::uint64_t column_checksum = 0;
  std::uint64_t checksum = 0;  // Of all before it: an end that is too high would cost ids.

  std::uint64_t expected_checksum(std::uint64_t bucket) const;
  bool operator==(const SealedNote&) const = default;
};
static_assert(sizeof(SealedNote) == 96);

class Catalog {
 public:
  /// Opens the tables, creating them in a write transaction with MDB_CREATE in `flags`; with MDB_CREATE in `create`
  /// those that stores of earlier versions lack. Throws Error::not_a_store, newer_format.
  Catalog(lmdb::Txn& txn, unsigned flags, unsigned create = 0);

  // Keys of the table `meta`, for code that reads it page by page; for the keys of numbers see key_of.
  static constexpr std::string_view kIdentityKey = "identity";
  static constexpr std::string_view kLiveDirKey = "live_dir";
  static constexpr std::string_view kLiveDirOriginKey = "live_dir_origin";
  static constexpr std::string_view kLiveDirBootKey = "live_dir_boot";

  /// Checks the checksum of the whole table `meta`. Throws Error::corrupt, newer_format.
  std::optional<StoreIdentity> identity(const lmdb::Txn& txn) const;
  void put_identity(lmdb::WriteTxn& txn, const StoreIdentity& identity) const;

  /// Numbers, 0 at first: how often the fencing tokens began again; the time (microseconds since 1970) since which
  /// everything is remembered, because a size cap makes the store forget what is older; and what the store is set to,
  /// see settings.h.
  enum class Number { token_epoch, known_since_us, max_bytes, expected_ids, ring_bytes, max_claims };
  static std::string_view key_of(Number which);
  std::uint64_t number(const lmdb::Txn& txn, Number which) const;
  void put_number(lmdb::WriteTxn& txn, Number which, std::uint64_t value) const;

  /// Where the store's shared memory is, and whether the store chose that itself because no option gave it. Earlier
  /// versions do not store the latter: where they have noted the store's own directory nobody gave another one.
  struct LiveDir {
    std::string directory;  // Or kOwnLiveDir for the store's own.
    bool chosen = false;
    Uuid boot_id{};  // Of the kernel that last had the store open; 0 where an earlier version has noted it.

    bool operator==(const LiveDir&) const = default;
  };
  static constexpr std::string_view kOwnLiveDir = ".";
  /// Nothing until it was noted.
  std::optional<LiveDir> live_dir(const lmdb::Txn& txn) const;
  void put_live_dir(lmdb::WriteTxn& txn, const LiveDir& live_dir) const;

  /// After a change of `meta` that was not made by a function of this class.
  void seal_meta(lmdb::WriteTxn& txn) const;

  /// By bucket number, ascending: (number, row).
  std::vector<std::pair<std::uint64_t, BucketRow>> buckets(const lmdb::Txn& txn) const;
  std::optional<BucketRow> bucket(const lmdb::Txn& txn, std::uint64_t number) const;
  void put_bucket(lmdb::WriteTxn& txn, std::uint64_t number, const BucketRow& row) const;
  /// Deletes the rows of all buckets below `number`; returns how many.
  std::size_t drop_buckets_below(lmdb::WriteTxn& txn, std::uint64_t number) const;

  /// Whether notes can be put.
  bool keeps_sealed() const { return sealed_.has_value(); }
  /// The notes that are intact and of this data.mdb, by bucket number, ascending.
  std::vector<std::pair<std::uint64_t, SealedNote>> sealed(const lmdb::Txn& txn, const Uuid& store_file_id) const;
  /// The note that a row's bytes are, if it is one.
  static std::optional<SealedNote> sealed_note(std::uint64_t bucket, lmdb::Bytes row, const Uuid& store_file_id);
  /// Seals the note.
  void put_sealed(lmdb::WriteTxn& txn, std::uint64_t bucket, SealedNote note) const;
  /// Deletes all rows for which keep(bucket, note) is false, and those that are no notes; returns how many.
  std::size_t drop_sealed_unless(lmdb::WriteTxn& txn, const Uuid& store_file_id,
                                 const std::function<bool(std::uint64_t, const SealedNote&)>& keep) const;
  /// Whether there are rows that are no notes: of another data.mdb, or damaged.
  bool has_foreign_sealed(const lmdb::Txn& txn, const Uuid& store_file_id) const;

  /// The scope's number, 1 and up. A name that is not found may be stored with a changed byte: before that is believed,
  /// scopes() or seal_scopes() must have found all rows intact.
  std::optional<std::uint32_t> scope(const lmdb::Txn& txn, std::string_view name) const;
  /// Requires seal_scopes() to have succeeded once since the store was opened.
  std::uint32_t add_scope(lmdb::WriteTxn& txn, std::string_view name) const;
  /// Gives a checksum to the rows without one, which an earlier format wrote. Reads all rows and throws Error::corrupt
  /// when one is damaged; costs some 50 ns for each.
  void seal_scopes(lmdb::WriteTxn& txn) const;
  /// Throws Error::corrupt when a row is damaged, or when there are more or fewer than LMDB has counted.
  std::vector<std::pair<std::uint32_t, std::string>> scopes(const lmdb::Txn& txn) const;

 private:
  void put_meta(lmdb::WriteTxn& txn, std::string_view key, lmdb::Bytes value) const;
  std::uint64_t meta_checksum(const lmdb::Txn& txn) const;

  MDB_dbi meta_;
  MDB_dbi buckets_;
  MDB_dbi scopes_;
  std::optional<MDB_dbi> sealed_;  // Missing where an earlier version made the store and has it open.
};

}  // namespace oncelog::internal
