#include <lmdb.h>

#include <fstream>
#include <string>
#include <vector>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

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

TEST_CASE("a path that is not a store is an error that says what it is, and is left as it was") {
  const TempDir dir;
  SUBCASE("nothing, and creating is off") {
    CHECK(error_code_naming("nowhere", [&] { Store::open(dir / "nowhere", {.create = false}); }) ==
          ErrorCode::not_found);
    CHECK(error_code_naming("nowhere", [&] { Store::open(dir / "nowhere", {.read_only = true}); }) ==
          ErrorCode::not_found);
    CHECK_FALSE(std::filesystem::exists(dir / "nowhere"));
  }
  SUBCASE("an empty directory, and creating is off") {
    CHECK(error_code_of([&] { Store::open(dir.path(), {.create = false}); }) == ErrorCode::not_found);
  }
  SUBCASE("a file") {
    std::ofstream(dir / "file") << "text";
    CHECK(error_code_naming("file", [&] { Store::open(dir / "file"); }) == ErrorCode::not_a_store);
    CHECK(std::filesystem::file_size(dir / "file") == 4);
  }
  SUBCASE("a directory of other files") {
    std::ofstream(dir / "letter.txt") << "text";
    CHECK(error_code_naming("letter.txt", [&] { Store::open(dir.path()); }) == ErrorCode::not_a_store);
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
  }
  SUBCASE("another program's LMDB environment") {
    make_foreign_lmdb(dir / "other");
    CHECK(error_code_naming("other", [&] { Store::open(dir / "other"); }) == ErrorCode::not_a_store);
  }
  SUBCASE("a path through a file") {
    std::ofstream(dir / "file") << "text";
    const auto code = error_code_of([&] { Store::open(dir / "file" / "store"); });
    CHECK((code == ErrorCode::io || code == ErrorCode::not_a_store));
  }
}

TEST_CASE("an option outside its range is an error that names it") {
  const TempDir dir;
  const auto refused = [&](const std::string& named, const Options& options) {
    CHECK(error_code_naming(named, [&] { Store::open(dir / "store", options); }) == ErrorCode::invalid_argument);
    CHECK_FALSE(std::filesystem::exists(dir / "store"));
  };
  refused("retention", {.retention = 0ms});
  refused("retention", {.retention = std::chrono::hours{24 * 365 * 101}});
  refused("buckets", {.buckets = 1});
  refused("buckets", {.buckets = 15});
  refused("ring_bytes", {.ring_bytes = 65'535});
  refused("ring_bytes", {.ring_bytes = 32 << 10});
  refused("expected_ids", {.expected_ids = 0});
  refused("map_bytes", {.map_bytes = 4096});
  refused("map_bytes", {.map_bytes = std::uint64_t{5} << 40});
  refused("max_readers", {.max_readers = 0});
  refused("flush_interval", {.flush_interval = 0ms});
}

TEST_CASE("an empty or too long id is an error of every call, and nothing of its batch is marked") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("orders");
  for (const std::string& bad : {std::string(), std::string(kMaxIdBytes + 1, 'x')}) {
    CHECK(error_code_naming("bytes", [&] { scope.mark(bad); }) == ErrorCode::invalid_argument);
    CHECK(error_code_of([&] { scope.contains(bad); }) == ErrorCode::invalid_argument);
    CHECK(error_code_of([&] { scope.find(bad); }) == ErrorCode::invalid_argument);
    std::vector<std::string> texts(100, "good");
    texts.back() = bad;
    const std::vector<std::string_view> ids(texts.begin(), texts.end());
    std::vector<Marked> marked(ids.size());
    CHECK(error_code_of([&] { scope.mark(ids, marked); }) == ErrorCode::invalid_argument);
    CHECK_FALSE(scope.contains("good"));
    CHECK(error_code_of([&] { scope.mark(std::span(ids).first(1), marked); }) == ErrorCode::invalid_argument);
  }
  CHECK(error_code_of([&] { store.scope(""); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { store.scope(std::string(kMaxScopeBytes + 1, 's')); }) == ErrorCode::invalid_argument);
  const std::string longest(kMaxIdBytes, '\0');
  CHECK(store.scope(std::string(kMaxScopeBytes, 's')).mark(longest) == Verdict::fresh);
  CHECK(store.scope(std::string(kMaxScopeBytes, 's')).mark(longest) == Verdict::duplicate);
  CHECK_FALSE(store.scope(std::string(kMaxScopeBytes, 's')).contains(longest.substr(1)));
}

TEST_CASE("a store that was opened before a fork is an error in the child, and goes on in the parent") {
  const TempDir dir;
  const Store store = Store::open(dir / "store");
  const Scope scope = store.scope("orders");
  scope.mark("a");
  CHECK(wait_for(spawn([&] {
          for (const auto& call : std::vector<std::function<void()>>{
                   [&] { scope.mark("b"); }, [&] { scope.contains("a"); }, [&] { store.sync(); },
                   [&] { store.metrics(); }, [&] { store.scope("mails"); },
                   [&] { store.scan({}, [](const Record&) { return true; }); }}) {
            try {
              call();
              return 1;
            } catch (const Error& error) {
              if (error.code() != ErrorCode::forked) return 2;
            }
          }
          const Store own = Store::open(dir / "store");
          return own.scope("orders").mark("c") == Verdict::fresh ? 0 : 3;
        })) == 0);
  CHECK(scope.contains("a"));
  CHECK(scope.contains("c"));
  CHECK_FALSE(scope.contains("b"));
}
