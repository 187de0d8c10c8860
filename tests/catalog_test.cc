#include "lmdb/catalog.h"

#include <cstring>

#include "parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

/// Stores these bytes as the identity and reads it.
std::optional<StoreIdentity> identity_from(Tables& tables, lmdb::Bytes bytes) {
  lmdb::WriteTxn txn(tables.env);
  const MDB_dbi meta = txn.open_table("meta", 0);
  txn.put(meta, lmdb::to_val(lmdb::to_bytes("identity")), bytes);
  tables.catalog->seal_meta(txn);
  return tables.catalog->identity(txn);
}

lmdb::Bytes bytes_of(const StoreIdentity& identity) {
  return std::as_bytes(std::span(&identity, 1));
}

StoreIdentity sound_identity() {
  StoreIdentity identity;
  identity.buckets = 8;
  identity.retention_us = 1'000'000;
  identity.hash_seed = 77;
  identity.store_id[3] = 9;
  return identity;
}

}  // namespace

TEST_CASE("a store's identity comes back as it was put, and is nothing before") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  CHECK_FALSE(tables.catalog->identity(txn));
  tables.catalog->put_identity(txn, sound_identity());
  const auto identity = tables.catalog->identity(txn);
  REQUIRE(identity);
  CHECK(std::memcmp(&*identity, bytes_of(sound_identity()).data(), sizeof(StoreIdentity)) == 0);
}

TEST_CASE("an identity of a later format is refused as such, whatever its length") {
  Tables tables;
  StoreIdentity later = sound_identity();
  later.format_version = kNewestFormat + 1;
  CHECK(error_code_of([&] { identity_from(tables, bytes_of(later)); }) == ErrorCode::newer_format);
  CHECK(error_code_of([&] { identity_from(tables, bytes_of(later).first(4)); }) == ErrorCode::newer_format);
  std::vector<std::byte> longer(100);
  std::memcpy(longer.data(), &later, sizeof later);
  CHECK(error_code_of([&] { identity_from(tables, longer); }) == ErrorCode::newer_format);
}

TEST_CASE("an identity of a wrong length or with impossible values is damage") {
  Tables tables;
  const auto code = [&](auto change) {
    StoreIdentity identity = sound_identity();
    change(identity);
    return error_code_of([&] { identity_from(tables, bytes_of(identity)); });
  };
  CHECK(code([](StoreIdentity& identity) { identity.format_version = 0; }) == ErrorCode::corrupt);
  CHECK(code([](StoreIdentity& identity) { identity.buckets = 0; }) == ErrorCode::corrupt);
  CHECK(code([](StoreIdentity& identity) { identity.buckets = kMinBuckets - 1; }) == ErrorCode::corrupt);
  CHECK(code([](StoreIdentity& identity) { identity.buckets = kMaxBuckets + 1; }) == ErrorCode::corrupt);
  CHECK(code([](StoreIdentity& identity) { identity.retention_us = 0; }) == ErrorCode::corrupt);
  CHECK(code([](StoreIdentity& identity) { identity.retention_us = -1; }) == ErrorCode::corrupt);
  const StoreIdentity sound = sound_identity();
  for (std::size_t size = 0; size < sizeof sound; ++size) {
    CHECK(error_code_of([&] { identity_from(tables, bytes_of(sound).first(size)); }) == ErrorCode::corrupt);
  }
  CHECK(identity_from(tables, bytes_of(sound)));
}

TEST_CASE("whatever changes in the table with the identity and the numbers is found") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  const MDB_dbi meta = txn.open_table("meta", 0);
  const auto key = [](std::string_view text) { return lmdb::to_val(lmdb::to_bytes(text)); };
  tables.catalog->put_identity(txn, sound_identity());
  tables.catalog->put_number(txn, Catalog::Number::token_epoch, 5);
  tables.catalog->put_live_dir(txn, {.directory = "/dev/shm/somewhere"});
  REQUIRE(tables.catalog->identity(txn));
  SUBCASE("the retention") {
    StoreIdentity other = sound_identity();
    other.retention_us /= 2;
    txn.put(meta, key("identity"), bytes_of(other));
  }
  SUBCASE("the format version, lowered") {
    StoreIdentity other = sound_identity();
    other.format_version = 2;
    txn.put(meta, key("identity"), bytes_of(other));
  }
  SUBCASE("a number") {
    txn.put(meta, key("token_epoch"), lmdb::to_bytes(std::string_view("\4\0\0\0\0\0\0\0", 8)));
  }
  SUBCASE("a number's name") {
    REQUIRE(txn.del(meta, key("token_epoch")));
    txn.put(meta, key("token_epocj"), lmdb::to_bytes(std::string_view("\5\0\0\0\0\0\0\0", 8)));
  }
  SUBCASE("a path") {
    txn.put(meta, key("live_dir"), lmdb::to_bytes("/dev/shm/somewherf"));
  }
  SUBCASE("the checksum's name") {
    REQUIRE(txn.del(meta, key("checksum")));
  }
  CHECK(error_code_of([&] { tables.catalog->identity(txn); }) == ErrorCode::corrupt);
}

TEST_CASE("bucket rows are read in the order of their numbers, and dropped from below") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  for (const std::uint64_t number : {300U, 2U, 1U, 256U})
    tables.catalog->put_bucket(txn, number, {number * 8, 0, 5, number});
  tables.catalog->put_bucket(txn, 2, {16, 0, 6, 99});
  const auto rows = tables.catalog->buckets(txn);
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].first == 1);
  CHECK(rows[1].first == 2);
  CHECK(rows[1].second.entries == 99);
  CHECK(rows[2].first == 256);
  CHECK(rows[3].first == 300);
  CHECK_FALSE(tables.catalog->bucket(txn, 3));
  tables.catalog->drop_buckets_below(txn, 256);
  CHECK(tables.catalog->buckets(txn).size() == 2);
  CHECK_FALSE(tables.catalog->bucket(txn, 2));
  CHECK(tables.catalog->bucket(txn, 256)->entries == 256);
}

TEST_CASE("a bucket row of a wrong length is damage") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  const std::uint64_t number = 1;
  txn.put(txn.open_table("buckets", MDB_INTEGERKEY), lmdb::to_val(number), lmdb::to_bytes("short"));
  CHECK(error_code_of([&] { tables.catalog->bucket(txn, 1); }) == ErrorCode::corrupt);
  CHECK(error_code_of([&] { tables.catalog->buckets(txn); }) == ErrorCode::corrupt);
}

TEST_CASE("scopes are numbered from 1 in the order of their first use") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  CHECK_FALSE(tables.catalog->scope(txn, "orders"));
  CHECK(tables.catalog->add_scope(txn, "orders") == 1);
  CHECK(tables.catalog->add_scope(txn, "mails") == 2);
  CHECK(tables.catalog->add_scope(txn, "orders") == 1);
  const std::string longest(kMaxScopeBytes, '\0');  // Any bytes make a name.
  CHECK(tables.catalog->add_scope(txn, longest) == 3);
  CHECK(tables.catalog->scope(txn, "mails") == 2);
  const auto all = tables.catalog->scopes(txn);
  REQUIRE(all.size() == 3);
  for (const auto& [number, name] : all) CHECK(tables.catalog->scope(txn, name) == number);
}

TEST_CASE("a scope whose name or number has changed is an error, not a new scope") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  const MDB_dbi scopes = txn.open_table("scopes", 0);
  tables.catalog->add_scope(txn, "orders");
  const auto bytes_of = [](const ScopeRow& row) { return std::as_bytes(std::span(&row, 1)); };
  const ScopeRow row = ScopeRow::of("orders", 1);
  SUBCASE("its name") {
    REQUIRE(txn.del(scopes, lmdb::to_val(lmdb::to_bytes("orders"))));
    txn.put(scopes, lmdb::to_val(lmdb::to_bytes("ordess")), bytes_of(row));
  }
  SUBCASE("its number") {
    const ScopeRow other{2, row.checksum};
    txn.put(scopes, lmdb::to_val(lmdb::to_bytes("orders")), bytes_of(other));
    CHECK(error_code_of([&] { tables.catalog->scope(txn, "orders"); }) == ErrorCode::corrupt);
  }
  CHECK(error_code_of([&] { tables.catalog->seal_scopes(txn); }) == ErrorCode::corrupt);
  CHECK(error_code_of([&] { tables.catalog->scopes(txn); }) == ErrorCode::corrupt);
}

TEST_CASE("a scope of an earlier format has no checksum until it is sealed") {
  Tables tables;
  lmdb::WriteTxn txn(tables.env);
  const MDB_dbi scopes = txn.open_table("scopes", 0);
  txn.put(scopes, lmdb::to_val(lmdb::to_bytes("orders")), lmdb::to_bytes(std::string_view("\1\0\0\0", 4)));
  CHECK(tables.catalog->scope(txn, "orders") == 1);
  tables.catalog->seal_scopes(txn);
  CHECK(tables.catalog->scope(txn, "orders") == 1);
  CHECK(txn.get(scopes, lmdb::to_val(lmdb::to_bytes("orders")))->size() == sizeof(ScopeRow));
  CHECK(tables.catalog->add_scope(txn, "mails") == 2);
}

TEST_CASE("an LMDB file without the tables is not a store") {
  const TempDir dir;
  const lmdb::Env env(dir.path(), MDB_NOTLS, std::uint64_t{1} << 20, 4, 8);
  lmdb::WriteTxn txn(env);
  CHECK(error_code_of([&] { Catalog(txn, 0); }) == ErrorCode::not_a_store);
  CHECK(error_code_of([&] { Log(txn, 0); }) == ErrorCode::not_a_store);
}

TEST_CASE(
    "it is stored whether a directory was chosen, and what an earlier version has noted was given or is the own") {
  const Tables tables;
  const Catalog& catalog = *tables.catalog;
  lmdb::WriteTxn txn(tables.env);
  CHECK_FALSE(catalog.live_dir(txn));
  for (const bool chosen : {true, false}) {
    for (const std::string directory : {".", "/dev/shm/oncelog-1", "/with\nlines\n"}) {
      catalog.put_live_dir(txn, {.directory = directory, .chosen = chosen});
      CHECK(catalog.live_dir(txn) == Catalog::LiveDir{directory, chosen});
    }
  }
  // An earlier version stores a directory alone, beside an origin that is not about it.
  const auto by_earlier_version = [&](std::string_view directory) {
    txn.put(txn.open_table("meta", 0), lmdb::to_val(lmdb::to_bytes("live_dir")), lmdb::to_bytes(directory));
    return catalog.live_dir(txn)->chosen;
  };
  catalog.put_live_dir(txn, {.directory = "/dev/shm/oncelog-1", .chosen = true});
  CHECK_FALSE(by_earlier_version("/dev/shm/oncelog-2"));
  catalog.put_live_dir(txn, {.directory = "/dev/shm/oncelog-1", .chosen = false});
  CHECK(by_earlier_version("."));
}
