#include "lmdb/catalog.h"

#include <fmt/format.h>

#include <cstring>
#include <span>

#include "base/error.h"
#include "base/xxh3.h"

namespace oncelog::internal {
namespace {

// How live_dir_origin begins; the value of live_dir that it is about follows.
constexpr std::string_view kChosen = "chosen ";
constexpr std::string_view kGiven = "given ";

MDB_val text_val(std::string_view text) {
  return lmdb::to_val(lmdb::to_bytes(text));
}

template <typename T>
lmdb::Bytes struct_bytes(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <typename T>
T load_struct(const lmdb::Env& env, const char* table, lmdb::Bytes bytes) {
  if (bytes.size() != sizeof(T)) {
    throw error_at(ErrorCode::corrupt, env.path(), "a value of table \"{}\" has {} bytes instead of {}", table,
                   bytes.size(), sizeof(T));
  }
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

[[noreturn]] void fail_damaged(const lmdb::Env& env, const char* what) {
  throw error_at(ErrorCode::corrupt, env.path(), "{}; see `oncelog verify`, then restore a backup or `oncelog repair`",
                 what);
}

/// Visits all entries of a table whose keys are texts.
template <typename Visit>
void each_entry(const lmdb::Txn& txn, MDB_dbi table, Visit visit) {
  const lmdb::Cursor cursor(txn, table);
  MDB_val key{};
  MDB_val value{};
  for (int code = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST); code != MDB_NOTFOUND;
       code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT)) {
    txn.env().check(code, "mdb_cursor_get");
    visit(std::string_view(static_cast<const char*>(key.mv_data), key.mv_size), lmdb::to_bytes(value));
  }
}

std::uint32_t scope_number(const lmdb::Env& env, lmdb::Bytes row, std::string_view name) {
  const auto number = ScopeRow::number_in(row, name);
  if (!number) fail_damaged(env, "the name or the number of a scope is damaged");
  return *number;
}

}  // namespace

StoreIdentity new_identity(std::optional<unsigned> buckets, std::optional<std::chrono::milliseconds> retention) {
  StoreIdentity identity;
  identity.buckets = buckets.value_or(kDefaultBuckets);
  identity.retention_us = std::chrono::microseconds(retention.value_or(kDefaultRetention)).count();
  identity.store_id = random_uuid();
  fill_random(&identity.hash_seed, sizeof identity.hash_seed);
  return identity;
}

Catalog::Catalog(lmdb::Txn& txn, unsigned flags, unsigned create)
    : meta_(txn.open_table("meta", flags)),
      buckets_(txn.open_table("buckets", flags | MDB_INTEGERKEY)),
      scopes_(txn.open_table("scopes", flags)),
      sealed_(txn.find_table("sealed", flags | create | MDB_INTEGERKEY)) {}

std::optional<StoreIdentity> Catalog::identity(const lmdb::Txn& txn) const {
  const auto bytes = txn.get(meta_, text_val(kIdentityKey));
  if (!bytes) return std::nullopt;
  // The version comes first and is read alone: a later format may have made the rest longer.
  std::uint32_t version = 0;
  if (bytes->size() >= sizeof version) std::memcpy(&version, bytes->data(), sizeof version);
  if (version > kNewestFormat) {
    throw error_at(ErrorCode::newer_format, txn.env().path(),
                   "the store has format version {}, this oncelog knows {}; use a newer oncelog", version,
                   kNewestFormat);
  }
  const auto identity = load_struct<StoreIdentity>(txn.env(), "meta", *bytes);
  if (version == 0 || identity.buckets < kMinBuckets || identity.buckets > kMaxBuckets || identity.retention_us <= 0) {
    throw error_at(ErrorCode::corrupt, txn.env().path(), "the store's identity record is damaged");
  }
  // A version that was lowered by damage does not escape: earlier formats have no such entry.
  const auto checksum = txn.get(meta_, text_val(MetaChecksum::kKey));
  if (checksum ? load_struct<std::uint64_t>(txn.env(), "meta", *checksum) != meta_checksum(txn)
               : version >= MetaChecksum::kSince) {
    fail_damaged(txn.env(), "the store's identity, or one of its numbers, is damaged");
  }
  return identity;
}

void Catalog::put_identity(lmdb::WriteTxn& txn, const StoreIdentity& identity) const {
  put_meta(txn, kIdentityKey, struct_bytes(identity));
}

std::string_view Catalog::key_of(Number which) {
  switch (which) {
    case Number::token_epoch:
      return "token_epoch";
    case Number::known_since_us:
      return "known_since_us";
    case Number::max_bytes:
      return "max_bytes";
    case Number::expected_ids:
      return "expected_ids";
    case Number::ring_bytes:
      return "ring_bytes";
    case Number::max_claims:
      return "max_claims";
  }
  return {};
}

std::uint64_t Catalog::number(const lmdb::Txn& txn, Number which) const {
  const auto bytes = txn.get(meta_, text_val(key_of(which)));
  return bytes ? load_struct<std::uint64_t>(txn.env(), "meta", *bytes) : 0;
}

void Catalog::put_number(lmdb::WriteTxn& txn, Number which, std::uint64_t value) const {
  put_meta(txn, key_of(which), struct_bytes(value));
}

std::optional<Catalog::LiveDir> Catalog::live_dir(const lmdb::Txn& txn) const {
  const auto text = [&](std::string_view key) -> std::optional<std::string> {
    const auto bytes = txn.get(meta_, text_val(key));
    if (!bytes) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
  };
  const auto directory = text(kLiveDirKey);
  if (!directory) return std::nullopt;
  const std::string origin = text(kLiveDirOriginKey).value_or("");
  LiveDir noted{.directory = *directory};
  if (const auto boot = txn.get(meta_, text_val(kLiveDirBootKey)); boot && boot->size() == noted.boot_id.size()) {
    std::memcpy(noted.boot_id.data(), boot->data(), noted.boot_id.size());
  }
  for (const std::string_view how : {kChosen, kGiven}) {
    if (origin != fmt::format("{}{}", how, *directory)) continue;
    noted.chosen = how == kChosen;
    return noted;
  }
  noted.chosen = *directory == kOwnLiveDir;  // Noted by a version that does not know the origin.
  return noted;
}

void Catalog::put_live_dir(lmdb::WriteTxn& txn, const LiveDir& live_dir) const {
  put_meta(txn, kLiveDirKey, lmdb::to_bytes(live_dir.directory));
  const std::string origin = fmt::format("{}{}", live_dir.chosen ? kChosen : kGiven, live_dir.directory);
  put_meta(txn, kLiveDirOriginKey, lmdb::to_bytes(origin));
  put_meta(txn, kLiveDirBootKey, std::as_bytes(std::span(live_dir.boot_id)));
}

void Catalog::put_meta(lmdb::WriteTxn& txn, std::string_view key, lmdb::Bytes value) const {
  txn.put(meta_, text_val(key), value);
  seal_meta(txn);
}

void Catalog::seal_meta(lmdb::WriteTxn& txn) const {
  txn.put(meta_, text_val(MetaChecksum::kKey), struct_bytes(meta_checksum(txn)));
}

std::uint64_t Catalog::meta_checksum(const lmdb::Txn& txn) const {
  MetaChecksum checksum;
  each_entry(txn, meta_, [&](std::string_view key, lmdb::Bytes value) { checksum.add(key, value); });
  return checksum.value();
}

void MetaChecksum::add(std::string_view key, lmdb::Bytes value) {
  if (key == kKey) return;
  sum_ = XXH3_64bits_withSeed(key.data(), key.size(), sum_);
  sum_ = XXH3_64bits_withSeed(value.data(), value.size(), sum_);
}

std::vector<std::pair<std::uint64_t, BucketRow>> Catalog::buckets(const lmdb::Txn& txn) const {
  std::vector<std::pair<std::uint64_t, BucketRow>> rows;
  const lmdb::Cursor cursor(txn, buckets_);
  for (auto entry = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST); entry;
       entry = lmdb::seek(txn.env(), cursor.get(), MDB_NEXT)) {
    rows.emplace_back(entry->key, load_struct<BucketRow>(txn.env(), "buckets", entry->value));
  }
  return rows;
}

std::optional<BucketRow> Catalog::bucket(const lmdb::Txn& txn, std::uint64_t number) const {
  const auto bytes = txn.get(buckets_, lmdb::to_val(number));
  if (!bytes) return std::nullopt;
  return load_struct<BucketRow>(txn.env(), "buckets", *bytes);
}

void Catalog::put_bucket(lmdb::WriteTxn& txn, std::uint64_t number, const BucketRow& row) const {
  txn.put(buckets_, lmdb::to_val(number), struct_bytes(row));
}

std::size_t Catalog::drop_buckets_below(lmdb::WriteTxn& txn, std::uint64_t number) const {
  std::size_t dropped = 0;
  lmdb::Cursor cursor(txn, buckets_);
  for (auto entry = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST); entry && entry->key < number;
       entry = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST)) {
    cursor.del();
    ++dropped;
  }
  return dropped;
}

std::uint64_t SealedNote::expected_checksum(std::uint64_t bucket) const {
  static_assert(offsetof(SealedNote, checksum) + sizeof checksum == sizeof(SealedNote));
  return XXH3_64bits_withSeed(this, offsetof(SealedNote, checksum), bucket);
}

std::optional<SealedNote> Catalog::sealed_note(std::uint64_t bucket, lmdb::Bytes row, const Uuid& store_file_id) {
  SealedNote note;
  if (row.size() != sizeof note) return std::nullopt;
  std::memcpy(static_cast<void*>(&note), row.data(), sizeof note);
  const bool ours = note.version == SealedNote::kVersion && note.store_file_id == store_file_id;
  if (!ours || note.checksum != note.expected_checksum(bucket)) return std::nullopt;
  return note;
}

std::vector<std::pair<std::uint64_t, SealedNote>> Catalog::sealed(const lmdb::Txn& txn,
                                                                  const Uuid& store_file_id) const {
  std::vector<std::pair<std::uint64_t, SealedNote>> notes;
  if (!sealed_) return notes;
  const lmdb::Cursor cursor(txn, *sealed_);
  for (auto row = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST); row;
       row = lmdb::seek(txn.env(), cursor.get(), MDB_NEXT)) {
    if (const auto note = sealed_note(row->key, row->value, store_file_id)) notes.emplace_back(row->key, *note);
  }
  return notes;
}

void Catalog::put_sealed(lmdb::WriteTxn& txn, std::uint64_t bucket, SealedNote note) const {
  note.checksum = note.expected_checksum(bucket);
  txn.put(sealed_.value(), lmdb::to_val(bucket), struct_bytes(note));
}

std::size_t Catalog::drop_sealed_unless(lmdb::WriteTxn& txn, const Uuid& store_file_id,
                                        const std::function<bool(std::uint64_t, const SealedNote&)>& keep) const {
  std::vector<std::uint64_t> gone;
  if (!sealed_) return 0;
  {
    const lmdb::Cursor cursor(txn, *sealed_);
    for (auto row = lmdb::seek(txn.env(), cursor.get(), MDB_FIRST); row;
         row = lmdb::seek(txn.env(), cursor.get(), MDB_NEXT)) {
      const auto note = sealed_note(row->key, row->value, store_file_id);
      if (!note || !keep(row->key, *note)) gone.push_back(row->key);
    }
  }
  for (const std::uint64_t bucket : gone) txn.del(*sealed_, lmdb::to_val(bucket));
  return gone.size();
}

bool Catalog::has_foreign_sealed(const lmdb::Txn& txn, const Uuid& store_file_id) const {
  return sealed_ && sealed(txn, store_file_id).size() != txn.stat(*sealed_).ms_entries;
}

ScopeRow ScopeRow::of(std::string_view name, std::uint32_t number) {
  return {number, static_cast<std::uint32_t>(XXH3_64bits_withSeed(name.data(), name.size(), number))};
}

std::optional<std::uint32_t> ScopeRow::number_in(lmdb::Bytes row, std::string_view name) {
  ScopeRow stored;
  if (row.size() != sizeof stored && row.size() != sizeof stored.number) return std::nullopt;
  std::memcpy(&stored, row.data(), row.size());
  if (stored.number == 0) return std::nullopt;
  if (row.size() == sizeof stored && stored.checksum != of(name, stored.number).checksum) return std::nullopt;
  return stored.number;
}

std::optional<std::uint32_t> Catalog::scope(const lmdb::Txn& txn, std::string_view name) const {
  const auto bytes = txn.get(scopes_, text_val(name));
  if (!bytes) return std::nullopt;
  return scope_number(txn.env(), *bytes, name);
}

std::uint32_t Catalog::add_scope(lmdb::WriteTxn& txn, std::string_view name) const {
  if (const auto known = scope(txn, name)) return *known;
  // Scopes are never deleted, so their count is the last number given.
  const auto number = static_cast<std::uint32_t>(txn.stat(scopes_).ms_entries + 1);
  txn.put(scopes_, text_val(name), struct_bytes(ScopeRow::of(name, number)));
  return number;
}

void Catalog::seal_scopes(lmdb::WriteTxn& txn) const {
  for (const auto& [number, name] : scopes(txn)) {
    const ScopeRow row = ScopeRow::of(name, number);
    if (txn.get(scopes_, text_val(name))->size() != sizeof row) txn.put(scopes_, text_val(name), struct_bytes(row));
  }
}

std::vector<std::pair<std::uint32_t, std::string>> Catalog::scopes(const lmdb::Txn& txn) const {
  std::vector<std::pair<std::uint32_t, std::string>> all;
  each_entry(txn, scopes_, [&](std::string_view name, lmdb::Bytes row) {
    all.emplace_back(scope_number(txn.env(), row, name), name);
  });
  if (all.size() != txn.stat(scopes_).ms_entries) fail_damaged(txn.env(), "the number of scopes is damaged");
  return all;
}

}  // namespace oncelog::internal
