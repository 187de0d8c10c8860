#include <lmdb.h>

#include <fstream>
#include <string>

#include "marked_store.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

/// Changes the store's LMDB file by LMDB's own means.
void change_identity(const std::filesystem::path& path, const std::function<void(std::string&)>& change) {
  MDB_env* env = nullptr;
  REQUIRE(mdb_env_create(&env) == 0);
  REQUIRE(mdb_env_set_maxdbs(env, 8) == 0);
  REQUIRE(mdb_env_open(env, path.c_str(), 0, 0600) == 0);
  MDB_txn* txn = nullptr;
  REQUIRE(mdb_txn_begin(env, nullptr, 0, &txn) == 0);
  MDB_dbi meta = 0;
  REQUIRE(mdb_dbi_open(txn, "meta", 0, &meta) == 0);
  std::string name = "identity";
  MDB_val key{name.size(), name.data()};
  MDB_val value{};
  REQUIRE(mdb_get(txn, meta, &key, &value) == 0);
  std::string identity(static_cast<const char*>(value.mv_data), value.mv_size);
  change(identity);
  value = {identity.size(), identity.data()};
  REQUIRE(mdb_put(txn, meta, &key, &value, 0) == 0);
  REQUIRE(mdb_txn_commit(txn) == 0);
  mdb_env_close(env);
}

void make_foreign_lmdb(const std::filesystem::path& path) {
  std::filesystem::create_directories(path);
  MDB_env* env = nullptr;
  REQUIRE(mdb_env_create(&env) == 0);
  REQUIRE(mdb_env_open(env, path.c_str(), 0, 0600) == 0);
  MDB_txn* txn = nullptr;
  REQUIRE(mdb_txn_begin(env, nullptr, 0, &txn) == 0);
  MDB_dbi main = 0;
  REQUIRE(mdb_dbi_open(txn, nullptr, 0, &main) == 0);
  std::string text = "somebody else's";
  MDB_val key{text.size(), text.data()};
  MDB_val value = key;
  REQUIRE(mdb_put(txn, main, &key, &value, 0) == 0);
  REQUIRE(mdb_txn_commit(txn) == 0);
  mdb_env_close(env);
}

}  // namespace

TEST_CASE("a store of a newer format is an error that names both versions, and the store is left as it was") {
  const TempDir dir;
  make_marked_store(dir / "store");
  std::string original;
  SUBCASE("of the same length") {
    change_identity(dir / "store", [&](std::string& identity) {
      original = identity;
      identity[0] = 7;
    });
  }
  SUBCASE("with a longer record") {
    change_identity(dir / "store", [&](std::string& identity) {
      original = identity;
      identity[0] = 7;
      identity += "and more";
    });
  }
  CHECK(error_code_naming("version 7", [&] { Store::open(dir / "store"); }) == ErrorCode::newer_format);
  change_identity(dir / "store", [&](std::string& identity) { identity = original; });
  expect_whole(dir / "store");
}

TEST_CASE("a damaged identity record is an error") {
  const TempDir dir;
  make_marked_store(dir / "store");
  std::string sound;
  const auto damage = [&](const std::function<void(std::string&)>& change) {
    change_identity(dir / "store", [&](std::string& identity) {
      if (sound.empty()) sound = identity;
      identity = sound;
      change(identity);
    });
    CHECK(error_code_of([&] { Store::open(dir / "store"); }) == ErrorCode::corrupt);
  };
  damage([](std::string& identity) { identity.resize(10); });
  damage([](std::string& identity) { identity.resize(2); });
  damage([](std::string& identity) { identity[0] = 0; });
  damage([](std::string& identity) { identity[4] = 99; });
  damage([](std::string& identity) { std::fill(identity.end() - 8, identity.end(), '\xff'); });
  change_identity(dir / "store", [&](std::string& identity) { identity = sound; });
  expect_whole(dir / "store");
}

TEST_CASE("a data.mdb that is damaged as a whole is an error, and the derived files do not hide it") {
  const TempDir dir;
  make_marked_store(dir / "store");
  const auto data = dir / "store" / "data.mdb";
  SUBCASE("emptied") {
    std::filesystem::resize_file(data, 0);
    CHECK(error_code_naming("data.mdb", [&] { Store::open(dir / "store"); }) == ErrorCode::corrupt);
  }
  SUBCASE("replaced by garbage") {
    std::filesystem::remove(data);
    std::ofstream(data) << std::string(100'000, 'g');
    CHECK(error_code_naming("data.mdb", [&] { Store::open(dir / "store"); }) == ErrorCode::not_a_store);
  }
  SUBCASE("replaced by garbage of a few bytes") {
    std::filesystem::remove(data);
    std::ofstream(data) << "g";
    CHECK(error_code_of([&] { Store::open(dir / "store"); }) == ErrorCode::not_a_store);
  }
  SUBCASE("replaced by another program's LMDB file") {
    make_foreign_lmdb(dir / "other");
    copy_over(dir / "other" / "data.mdb", data);
    CHECK(error_code_of([&] { Store::open(dir / "store"); }) == ErrorCode::not_a_store);
  }
  SUBCASE("removed, with the derived files still there") {
    std::filesystem::remove(data);
    CHECK(error_code_of([&] { Store::open(dir / "store"); }) == ErrorCode::not_a_store);
  }
}

TEST_CASE("another program's LMDB environment is not a store") {
  const TempDir dir;
  make_foreign_lmdb(dir / "other");
  CHECK(error_code_naming("other", [&] { Store::open(dir / "other"); }) == ErrorCode::not_a_store);
}

TEST_CASE("a truncated data.mdb is an error or opens with all that was accepted, and never a crash") {
  const TempDir dir;
  make_marked_store(dir / "store");
  copy_store(dir / "store", dir / "sound");
  const auto data = dir / "store" / "data.mdb";
  const std::uintmax_t whole = std::filesystem::file_size(data);
  int errors = 0;
  for (std::uintmax_t cut = 1; cut < whole; cut += cut < 64 * 1024 ? 4093 : 20'011) {
    for (const bool rebuild : {false, true}) {
      copy_over(dir / "sound" / "data.mdb", data);
      for (const auto& file : derived_files(dir / "sound")) copy_over(file, dir / "store" / file.filename());
      std::filesystem::resize_file(data, whole - cut);
      if (rebuild) remove_derived(dir / "store");
      CAPTURE(cut);
      CAPTURE(rebuild);
      const int end = wait_for(spawn([&] {
        try {
          const Scope scope = Store::open(dir / "store", {.expected_ids = 1}).scope("orders");
          for (int id = 0; id < kMarkedIds; ++id) {
            if (!scope.contains(marked_id(id))) return 1;
          }
          return 0;
        } catch (const Error& error) {
          return error.code() == ErrorCode::corrupt || error.code() == ErrorCode::not_a_store ? 2 : 3;
        }
      }));
      CHECK((end == 0 || end == 2));
      errors += end == 2;
    }
  }
  CHECK(errors > 0);
}

TEST_CASE("another store's data.mdb, or an older one of the same store, opens as the store that it is") {
  const TempDir dir;
  {
    const Scope scope = Store::open(dir / "store", {.expected_ids = 1}).scope("orders");
    scope.mark("at the backup");
  }
  copy_store(dir / "store", dir / "backup");
  make_marked_store(dir / "store");
  make_marked_store(dir / "other");
  const auto data = dir / "store" / "data.mdb";
  SUBCASE("an older one under the same name") {
    copy_over(dir / "backup" / "data.mdb", data);
  }
  SUBCASE("an older one written into the same file") {
    std::ifstream backup(dir / "backup" / "data.mdb", std::ios::binary);
    std::ofstream(data, std::ios::binary | std::ios::trunc) << backup.rdbuf();
  }
  SUBCASE("another store's") {
    copy_over(dir / "other" / "data.mdb", data);
    expect_whole(dir / "store");
    return;
  }
  const Store store = Store::open(dir / "store", {.expected_ids = 1});
  const Scope scope = store.scope("orders");
  CHECK(scope.contains("at the backup"));
  for (int id = 0; id < kMarkedIds; ++id) {
    REQUIRE_FALSE(scope.contains(marked_id(id)));
    REQUIRE(scope.mark(marked_id(id)) == Verdict::fresh);
  }
  store.sync();
  CHECK(count_known(scope) == kMarkedIds);
}
