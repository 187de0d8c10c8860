#include "catalog.h"

#include <fmt/format.h>

#include <cstring>

namespace oncelog::internal {
namespace {

constexpr std::string_view kIdentityKey = "identity";
constexpr std::string_view kLiveDirKey = "live_dir";

std::string_view key_of(Catalog::Number which) {
  return which == Catalog::Number::token_epoch ? "token_epoch" : "known_since_us";
}

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
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: a value of table \"{}\" has {} bytes instead of {}", env.path().string(), table,
                            bytes.size(), sizeof(T)),
                env.path());
  }
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

Catalog::Catalog(lmdb::Txn& txn, unsigned flags)
    : meta_(txn.open_table("meta", flags)),
      buckets_(txn.open_table("buckets", flags | MDB_INTEGERKEY)),
      scopes_(txn.open_table("scopes", flags)) {}

std::optional<StoreIdentity> Catalog::identity(const lmdb::Txn& txn) const {
  const auto bytes = txn.get(meta_, text_val(kIdentityKey));
  if (!bytes) return std::nullopt;
  // The version comes first and is read alone: a later format may have made the rest longer.
  std::uint32_t version = 0;
  if (bytes->size() >= sizeof version) std::memcpy(&version, bytes->data(), sizeof version);
  if (version > kFormatVersion) {
    throw Error(ErrorCode::newer_format,
                fmt::format("{}: the store has format version {}, this oncelog knows {}; use a newer oncelog",
                            txn.env().path().string(), version, kFormatVersion),
                txn.env().path());
  }
  const auto identity = load_struct<StoreIdentity>(txn.env(), "meta", *bytes);
  if (version == 0 || identity.buckets < kMinBuckets || identity.buckets > kMaxBuckets || identity.retention_us <= 0) {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: the store's identity record is damaged", txn.env().path().string()), txn.env().path());
  }
  return identity;
}

void Catalog::put_identity(lmdb::WriteTxn& txn, const StoreIdentity& identity) const {
  txn.put(meta_, text_val(kIdentityKey), struct_bytes(identity));
}

std::uint64_t Catalog::number(const lmdb::Txn& txn, Number which) const {
  const auto bytes = txn.get(meta_, text_val(key_of(which)));
  return bytes ? load_struct<std::uint64_t>(txn.env(), "meta", *bytes) : 0;
}

void Catalog::put_number(lmdb::WriteTxn& txn, Number which, std::uint64_t value) const {
  txn.put(meta_, text_val(key_of(which)), struct_bytes(value));
}

std::optional<std::string> Catalog::live_dir(const lmdb::Txn& txn) const {
  const auto bytes = txn.get(meta_, text_val(kLiveDirKey));
  if (!bytes) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

void Catalog::put_live_dir(lmdb::WriteTxn& txn, std::string_view live_dir) const {
  txn.put(meta_, text_val(kLiveDirKey), lmdb::to_bytes(live_dir));
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

std::optional<std::uint32_t> Catalog::scope(const lmdb::Txn& txn, std::string_view name) const {
  const auto bytes = txn.get(scopes_, text_val(name));
  if (!bytes) return std::nullopt;
  return load_struct<std::uint32_t>(txn.env(), "scopes", *bytes);
}

std::uint32_t Catalog::add_scope(lmdb::WriteTxn& txn, std::string_view name) const {
  if (const auto known = scope(txn, name)) return *known;
  // Scopes are never deleted, so their count is the last number given.
  const auto number = static_cast<std::uint32_t>(txn.stat(scopes_).ms_entries + 1);
  txn.put(scopes_, text_val(name), struct_bytes(number));
  return number;
}

std::vector<std::pair<std::uint32_t, std::string>> Catalog::scopes(const lmdb::Txn& txn) const {
  std::vector<std::pair<std::uint32_t, std::string>> all;
  const lmdb::Cursor cursor(txn, scopes_);
  MDB_val key{};
  MDB_val value{};
  for (int code = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST); code != MDB_NOTFOUND;
       code = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT)) {
    txn.env().check(code, "mdb_cursor_get");
    all.emplace_back(load_struct<std::uint32_t>(txn.env(), "scopes", lmdb::to_bytes(value)),
                     std::string(static_cast<const char*>(key.mv_data), key.mv_size));
  }
  return all;
}

}  // namespace oncelog::internal
