#include "lmdb/user_tables.h"

#include <map>
#include <random>
#include <string>
#include <vector>

#include "parts.h"
#include "table_entries.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

const Options kOptions{.retention = 1h, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};

using Texts = std::vector<std::string>;
using Entries = std::vector<std::pair<std::string, std::string>>;

/// User tables within one write transaction.
struct TestTables : Tables {
  lmdb::WriteTxn txn{env};
  UserTables users{txn, MDB_CREATE};

  void put(std::string_view table, std::string_view key, std::string_view value) { users.put(txn, table, key, value); }
  std::optional<std::string> get(std::string_view table, std::string_view key) {
    const auto value = users.get(txn, table, key);
    return value ? std::optional<std::string>(*value) : std::nullopt;
  }
  Entries scan(std::string_view table, std::string_view from = {}, std::size_t most = ~std::size_t{0}) {
    Entries entries;
    users.scan(txn, table, from, [&](std::string_view key, std::string_view value) {
      entries.emplace_back(key, value);
      return entries.size() < most;
    });
    return entries;
  }
};

}  // namespace

TEST_CASE("an entry is there from its put to its erasure, with the value put last") {
  TestTables test;
  CHECK_FALSE(test.get("t", "k"));
  CHECK_FALSE(test.users.erase(test.txn, "t", "k"));
  test.put("t", "k", "one");
  CHECK(test.get("t", "k") == "one");
  test.put("t", "k", "two\0and more"s);
  CHECK(test.get("t", "k") == "two\0and more"s);
  test.put("t", "k", "");
  CHECK(test.get("t", "k") == "");
  CHECK(test.users.erase(test.txn, "t", "k"));
  CHECK_FALSE(test.get("t", "k"));
  CHECK(test.scan("t").empty());
}

TEST_CASE("entries are what was committed, to readers that come after") {
  Tables tables;
  std::optional<UserTables> users;
  {
    lmdb::WriteTxn txn(tables.env);
    users.emplace(txn, MDB_CREATE);
    users->put(txn, "t", "k", "kept");
    txn.commit();
  }
  {
    lmdb::WriteTxn txn(tables.env);
    users->put(txn, "t", "k", "given up");
  }
  const lmdb::Txn txn(tables.env, MDB_RDONLY);
  CHECK(users->get(txn, "t", "k") == "kept");
}

TEST_CASE("names and keys may be as long as their limits, and no longer or empty") {
  TestTables test;
  const std::string table(kMaxTableBytes, 't');
  const std::string key(kMaxKeyBytes, 'k');
  test.put(table, key, "longest");
  CHECK(test.get(table, key) == "longest");
  CHECK(test.scan(table) == Entries{{key, "longest"}});
  CHECK(test.scan(table, key) == Entries{{key, "longest"}});
  const auto all_refuse = [&](const std::string& wrong_table, const std::string& wrong_key) {
    CHECK(error_code_of([&] { test.put(wrong_table, wrong_key, "v"); }) == ErrorCode::invalid_argument);
    CHECK(error_code_of([&] { test.get(wrong_table, wrong_key); }) == ErrorCode::invalid_argument);
    CHECK(error_code_of([&] { test.users.erase(test.txn, wrong_table, wrong_key); }) == ErrorCode::invalid_argument);
  };
  all_refuse(table + "t", "k");
  all_refuse("", "k");
  all_refuse("t\0"s, "k");
  all_refuse("\0t"s, "k");
  all_refuse("t\0t"s, "k");
  all_refuse("t", "");
  all_refuse("t", key + "k");
  for (const std::string& wrong : {table + "t", ""s, "t\0"s}) {
    CHECK(error_code_of([&] { test.scan(wrong); }) == ErrorCode::invalid_argument);
  }
  CHECK(error_code_of([&] { test.scan("t", key + "k"); }) == ErrorCode::invalid_argument);
  CHECK(test.scan(table) == Entries{{key, "longest"}});
}

TEST_CASE("a table whose name begins another's has its own entries only") {
  TestTables test;
  test.put("a", "b", "of a");
  test.put("ab", "b", "of ab");
  test.put("ab", "\0"s, "of ab, NUL");
  test.put("a", "\0b"s, "of a, NUL");
  test.put("a", "\xFF", "of a, last");
  test.put("a\x01", "b", "of a\\1");
  CHECK(test.get("a", "b") == "of a");
  CHECK(test.get("ab", "b") == "of ab");
  CHECK(test.scan("a") == Entries{{"\0b"s, "of a, NUL"}, {"b", "of a"}, {"\xFF", "of a, last"}});
  CHECK(test.scan("ab") == Entries{{"\0"s, "of ab, NUL"}, {"b", "of ab"}});
  CHECK(test.scan("a\x01") == Entries{{"b", "of a\\1"}});
  CHECK(test.users.erase(test.txn, "a", "b"));
  CHECK_FALSE(test.users.erase(test.txn, "a", "b\0"s));
  CHECK(test.get("ab", "b") == "of ab");
}

TEST_CASE("a table without entries is empty, before, between and after others") {
  TestTables test;
  CHECK(test.scan("b").empty());
  test.put("a", "k", "v");
  test.put("c", "k", "v");
  for (const char* table : {"0", "b", "d", "aa"}) {
    CHECK(test.scan(table).empty());
    CHECK_FALSE(test.get(table, "k"));
  }
}

TEST_CASE("a scan begins at the key that it is given or the next one, and ends when its visitor says so") {
  TestTables test;
  for (const char* key : {"b", "d", "dd", "f"}) test.put("t", key, key);
  test.put("u", "a", "another table's");
  CHECK(test.scan("t", "b").size() == 4);
  CHECK(test.scan("t", "c") == Entries{{"d", "d"}, {"dd", "dd"}, {"f", "f"}});
  CHECK(test.scan("t", "d\0"s) == Entries{{"dd", "dd"}, {"f", "f"}});
  CHECK(test.scan("t", "f") == Entries{{"f", "f"}});
  CHECK(test.scan("t", "g").empty());
  CHECK(test.scan("t", {}, 2) == Entries{{"b", "b"}, {"d", "d"}});
}

TEST_CASE("tables hold what maps hold, and scan in the order of bytes") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  TestTables test;
  const std::vector<std::string> names{"a", "aa", "b", "a\xFF"};
  std::map<std::string, std::map<std::string, std::string>> model;
  const auto random_key = [&] {
    std::string key(random() % 3 + 1, '\0');
    for (char& byte : key)
      byte =
          "\0\x01"
          "aA\x7F\x80\xFF"[random() % 7];
    return key;
  };
  for (std::uint64_t i = 0; i < scaled(10'000, 1'000); ++i) {
    const std::string& table = names[random() % names.size()];
    const std::string key = random_key();
    auto& entries = model[table];
    if (random() % 3 == 0) {
      REQUIRE(test.users.erase(test.txn, table, key) == (entries.erase(key) != 0));
    } else {
      test.put(table, key, entries[key] = std::to_string(i));
    }
    if (i % 20 != 0) continue;
    const std::string from = random_key();
    const Entries expected(entries.lower_bound(from), entries.end());
    REQUIRE(test.scan(table, from) == expected);
    REQUIRE(test.scan(table) == Entries(entries.begin(), entries.end()));
  }
}

TEST_CASE("user tables are ordered maps of bytes") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const std::string binary("\0\xff\0", 3);
  const std::string large(3 << 20, 'v');
  CHECK_FALSE(store.get("t", "k"));
  CHECK(table_of(store, "t").empty());
  store.transact([&](Transaction& tx) {
    CHECK_FALSE(tx.get("t", "b"));
    tx.put("t", "b", "2");
    tx.put("t", "a", "1");
    tx.put("t", binary, binary);
    tx.put("t", "c", "");
    tx.put("t", "d", large);
    tx.put("ta", "a", "of a longer name");
    tx.put("s", "z", "of an earlier name");
    CHECK(tx.get("t", "b") == "2");
    tx.put("t", "b", "3");
    CHECK(tx.get("t", "b") == "3");
    CHECK(tx.erase("t", "a"));
    CHECK_FALSE(tx.erase("t", "a"));
    CHECK_FALSE(tx.get("t", "a"));
    CHECK(tx.get("ta", "a") == "of a longer name");
    Texts keys;
    tx.scan("t", "", [&](std::string_view key, std::string_view) {
      keys.emplace_back(key);
      return true;
    });
    CHECK(keys == Texts{binary, "b", "c", "d"});
    keys.clear();
    tx.scan("t", "bb", [&](std::string_view key, std::string_view) {
      keys.emplace_back(key);
      return false;
    });
    CHECK(keys == Texts{"c"});
  });
  CHECK(table_of(store, "t") == Texts{binary + "=" + binary, "b=3", "c=", "d=" + large});
  CHECK(table_of(store, "t", "c").size() == 2);
  CHECK(table_of(store, "ta") == Texts{"a=of a longer name"});
  CHECK(table_of(store, "s") == Texts{"z=of an earlier name"});
  CHECK(table_of(store, "u").empty());
  CHECK(store.get("t", "c") == "");
  // From within a scan, and while its entries are being changed.
  store.scan_table("t", "", [&](std::string_view key, std::string_view) {
    store.transact([&](Transaction& tx) { tx.erase("t", key); });
    CHECK_FALSE(store.get("t", key));
    return true;
  });
  CHECK(table_of(store, "t").empty());
}

TEST_CASE("names and keys of user tables have limits") {
  const TempDir dir;
  const Store store = Store::open(dir / "store", kOptions);
  const std::string longest_table(kMaxTableBytes, 't');
  const std::string longest_key(kMaxKeyBytes, 'k');
  store.transact([&](Transaction& tx) {
    tx.put(longest_table, longest_key, "v");
    using TableAndKey = std::pair<std::string, std::string>;
    for (const TableAndKey& wrong :
         {TableAndKey{"", "k"}, TableAndKey{longest_table + "t", "k"}, TableAndKey{std::string("t\0t", 3), "k"},
          TableAndKey{"t", ""}, TableAndKey{"t", longest_key + "k"}}) {
      const std::string& table = wrong.first;
      const std::string& key = wrong.second;
      CHECK(error_code_of([&] { tx.put(table, key, "v"); }) == ErrorCode::invalid_argument);
      CHECK(error_code_of([&] { tx.get(table, key); }) == ErrorCode::invalid_argument);
      CHECK(error_code_of([&] { tx.erase(table, key); }) == ErrorCode::invalid_argument);
    }
  });
  CHECK(store.get(longest_table, longest_key) == "v");
  CHECK(error_code_of([&] { store.get("", "k"); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { table_of(store, ""); }) == ErrorCode::invalid_argument);
}
