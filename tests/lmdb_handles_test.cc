#include "lmdb/handles.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <vector>

#include "lmdb/lmdb_error.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

struct TestEnv {
  explicit TestEnv(std::uint64_t map_bytes = std::uint64_t{16} << 20, unsigned readers = 8)
      : env(dir.path(), MDB_NOTLS, map_bytes, readers, 4) {
    lmdb::WriteTxn txn(env);
    dbi = txn.open_table("table", MDB_CREATE | MDB_INTEGERKEY);
    txn.commit();
  }

  void put(std::uint64_t key, std::string_view value) {
    lmdb::WriteTxn txn(env);
    txn.put(dbi, lmdb::to_val(key), lmdb::to_bytes(value));
    txn.commit();
  }

  TempDir dir;
  lmdb::Env env;
  MDB_dbi dbi = 0;
};

std::string text(lmdb::Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("what is committed is there, what is not never was") {
  TestEnv test;
  const std::uint64_t one = 1;
  test.put(one, "first");
  {
    lmdb::WriteTxn txn(test.env);
    txn.put(test.dbi, lmdb::to_val(one), lmdb::to_bytes("second"));
    CHECK(text(*txn.get(test.dbi, lmdb::to_val(one))) == "second");
  }
  lmdb::WriteTxn txn(test.env);
  CHECK(text(*txn.get(test.dbi, lmdb::to_val(one))) == "first");
  CHECK(txn.del(test.dbi, lmdb::to_val(one)));
  CHECK_FALSE(txn.del(test.dbi, lmdb::to_val(one)));
  CHECK_FALSE(txn.get(test.dbi, lmdb::to_val(one)));
}

TEST_CASE("a parked read transaction sees the newest commit each time it is used") {
  TestEnv test;
  lmdb::ReadTxn txn(test.env, test.dbi);
  for (std::uint64_t key = 0; key < 3; ++key) {
    {
      const lmdb::ReadTxn::Active active(txn);
      CHECK_FALSE(lmdb::seek(test.env, txn.cursor(), MDB_SET_RANGE, key));
    }
    test.put(key, "value");
    const lmdb::ReadTxn::Active active(txn);
    const auto entry = lmdb::seek(test.env, txn.cursor(), MDB_SET_RANGE, key);
    REQUIRE(entry);
    CHECK(entry->key == key);
    CHECK(text(entry->value) == "value");
    test.put(100 + key, "later");
    CHECK_FALSE(lmdb::seek(test.env, txn.cursor(), MDB_SET, 100 + key));
    lmdb::WriteTxn undo(test.env);
    const std::uint64_t later = 100 + key;
    undo.del(test.dbi, lmdb::to_val(later));
    undo.commit();
  }
}

TEST_CASE("a parked read transaction keeps no page from being used again") {
  TestEnv test;
  lmdb::ReadTxn txn(test.env, test.dbi);
  const std::string value(100'000, 'x');
  const auto churn = [&] {
    for (int i = 0; i < 20; ++i) test.put(1, value);
    return test.env.used_bytes();
  };
  churn();
  const std::uint64_t before = churn();
  CHECK(churn() == before);
  const lmdb::ReadTxn::Active active(txn);
  CHECK(churn() > before);  // An active one does.
}

TEST_CASE("a cursor walks in the order of the keys and says where the end is") {
  TestEnv test;
  for (const std::uint64_t key : {300U, 2U, 70'000U}) test.put(key, std::to_string(key));
  const lmdb::Txn txn(test.env, MDB_RDONLY);
  const lmdb::Cursor cursor(txn, test.dbi);
  std::vector<std::uint64_t> keys;
  for (auto entry = lmdb::seek(test.env, cursor.get(), MDB_FIRST); entry;
       entry = lmdb::seek(test.env, cursor.get(), MDB_NEXT)) {
    keys.push_back(entry->key);
  }
  CHECK(keys == std::vector<std::uint64_t>{2, 300, 70'000});
  CHECK(lmdb::seek(test.env, cursor.get(), MDB_SET_RANGE, 3)->key == 300);
  CHECK_FALSE(lmdb::seek(test.env, cursor.get(), MDB_SET_RANGE, 70'001));
  CHECK(lmdb::seek(test.env, cursor.get(), MDB_LAST)->key == 70'000);
  CHECK(txn.stat(test.dbi).ms_entries == 3);
}

TEST_CASE("a key that is no number is damage") {
  TestEnv test;
  lmdb::WriteTxn txn(test.env);
  const MDB_dbi names = txn.open_table("names", MDB_CREATE);
  txn.put(names, lmdb::to_val(lmdb::to_bytes("abc")), lmdb::to_bytes("x"));
  const lmdb::Cursor cursor(txn, names);
  CHECK(error_code_of([&] { lmdb::seek(test.env, cursor.get(), MDB_FIRST); }) == ErrorCode::corrupt);
}

TEST_CASE("a full map is Error::full, and the environment goes on") {
  TestEnv test(std::uint64_t{1} << 20);
  test.put(1, "kept");
  CHECK(error_code_of([&] { test.put(2, std::string(2 << 20, 'x')); }) == ErrorCode::full);
  test.put(3, "after");
  const lmdb::Txn txn(test.env, MDB_RDONLY);
  const std::uint64_t one = 1;
  const std::uint64_t two = 2;
  CHECK(text(*txn.get(test.dbi, lmdb::to_val(one))) == "kept");
  CHECK_FALSE(txn.get(test.dbi, lmdb::to_val(two)));
}

TEST_CASE("one reader more than there are slots is an error that names the option") {
  TestEnv test(std::uint64_t{1} << 20, 2);
  const lmdb::Txn first(test.env, MDB_RDONLY);
  {
    const lmdb::Txn second(test.env, MDB_RDONLY);
    CHECK(error_code_of([&] { lmdb::Txn(test.env, MDB_RDONLY); }) == ErrorCode::too_many_readers);
    CHECK(error_text_of([&] { lmdb::Txn(test.env, MDB_RDONLY); }).find("max_readers") != std::string::npos);
  }
  const lmdb::Txn third(test.env, MDB_RDONLY);
  CHECK(third.get() != nullptr);
}

TEST_CASE("LMDB's failures become the codes that callers act on") {
  const auto code = [](int failure) { return lmdb::make_error(failure, "call", "/path").code(); };
  CHECK(code(MDB_MAP_FULL) == ErrorCode::full);
  CHECK(code(ENOSPC) == ErrorCode::full);
  CHECK(code(MDB_READERS_FULL) == ErrorCode::too_many_readers);
  CHECK(code(MDB_INVALID) == ErrorCode::not_a_store);
  CHECK(code(MDB_VERSION_MISMATCH) == ErrorCode::newer_format);
  CHECK(code(MDB_CORRUPTED) == ErrorCode::corrupt);
  CHECK(code(MDB_PAGE_NOTFOUND) == ErrorCode::corrupt);
  CHECK(code(MDB_PANIC) == ErrorCode::io);
  CHECK(code(EACCES) == ErrorCode::no_permission);
  CHECK(code(MDB_BAD_TXN) == ErrorCode::io);
}

TEST_CASE("a file that is not LMDB's is not a store, and a table that is missing neither") {
  const TempDir dir;
  std::ofstream(dir / "data.mdb") << std::string(100'000, 'x');
  CHECK(error_code_of([&] { lmdb::Env(dir.path(), MDB_NOTLS, std::uint64_t{1} << 20, 4, 4); }) ==
        ErrorCode::not_a_store);
  TestEnv test;
  lmdb::WriteTxn txn(test.env);
  CHECK(error_code_of([&] { txn.open_table("absent", 0); }) == ErrorCode::not_a_store);
}

TEST_CASE("reserved room is the value that is read") {
  TestEnv test;
  lmdb::WriteTxn txn(test.env);
  const std::uint64_t key = 5;
  const auto room = txn.reserve(test.dbi, lmdb::to_val(key), 50'000, 0);
  REQUIRE(room.size() == 50'000);
  std::fill(room.begin(), room.end(), std::byte{9});
  const auto value = txn.get(test.dbi, lmdb::to_val(key));
  REQUIRE(value);
  CHECK(std::ranges::all_of(*value, [](std::byte byte) { return byte == std::byte{9}; }));
}

TEST_CASE("a file that lacks only pages that a transaction took and gave back is sound, and is extended") {
  TestEnv test;
  for (int i = 0; i < 5; ++i) test.put(1, std::string(10'000, 'x'));  // So that there are free pages to begin with.
  const auto size = [&] { return std::filesystem::file_size(test.dir / "data.mdb"); };
  {
    lmdb::WriteTxn txn(test.env);
    const std::uint64_t key = 2;
    txn.put(test.dbi, lmdb::to_val(key), lmdb::to_bytes(std::string(4 << 20, 'x')));
    txn.del(test.dbi, lmdb::to_val(key));
    txn.put(test.dbi, lmdb::to_val(key), lmdb::to_bytes("small after all"));
    txn.commit();
  }
  REQUIRE(size() + (3 << 20) <= test.env.used_bytes());
  const lmdb::WriteTxn lock(test.env);
  CHECK(test.env.complete_file());
  CHECK(size() == test.env.used_bytes());
  CHECK_FALSE(test.env.complete_file());
}

TEST_CASE("a file that lacks one page in use is damage, and is left as it is") {
  TestEnv test;
  test.put(1, std::string(100'000, 'x'));
  const auto size = std::filesystem::file_size(test.dir / "data.mdb");
  REQUIRE(size == test.env.used_bytes());
  std::filesystem::resize_file(test.dir / "data.mdb", size - test.env.page_bytes());
  const lmdb::WriteTxn lock(test.env);
  CHECK(error_code_of([&] { test.env.complete_file(); }) == ErrorCode::corrupt);
  CHECK(std::filesystem::file_size(test.dir / "data.mdb") == size - test.env.page_bytes());
}

TEST_CASE("the free list tells which pages the next commit can use: none of the newest one's, none that are read") {
  TestEnv test;
  const std::uint64_t one = 1;
  test.put(one, std::string(20'000, 'a'));  // Five pages.
  test.put(2, "b");
  lmdb::FreeList list(test.env);
  const auto pages = [&](std::uint64_t run = 1) { return list.pages(test.env.oldest_snapshot(), run); };
  const auto usable_before = pages().usable;
  std::optional<lmdb::Txn> reader(std::in_place, test.env, MDB_RDONLY);
  const auto snapshot = mdb_txn_id(reader->get());
  {
    lmdb::WriteTxn txn(test.env);
    REQUIRE(txn.del(test.dbi, lmdb::to_val(one)));
    txn.commit();
  }
  CHECK(pages().all >= usable_before + 5);
  test.put(3, "c");
  test.put(4, "d");
  CHECK(test.env.oldest_snapshot() == snapshot);
  CHECK(pages().usable < 5);  // They are read.
  CHECK(pages(5).in_runs == 0);
  reader.reset();
  CHECK_FALSE(test.env.oldest_snapshot());
  CHECK(pages().usable >= 5);
  CHECK(pages(5).in_runs >= 5);
  CHECK(pages(100).in_runs == 0);
  CHECK(pages().all > pages().usable);  // The newest commit's.
}
