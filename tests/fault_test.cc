#include <lmdb.h>

#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "shared.h"
#include "shared/shared_state.h"
#include "store_files.h"
#include "support.h"
#include "window/index.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr int kIds = 5'000;

std::string id_of(int number) {
  return "message-" + std::to_string(number);
}

/// A closed store with kIds marks.
void make_store(const std::filesystem::path& path, const Options& options = {.expected_ids = 1}) {
  const Scope scope = Store::open(path, options).scope("orders");
  for (int id = 0; id < kIds; ++id) scope.mark(id_of(id));
}

int count_known(const Scope& scope) {
  int count = 0;
  for (int id = 0; id < kIds; ++id) count += scope.contains(id_of(id)) && scope.mark(id_of(id)) == Verdict::duplicate;
  return count;
}

/// The store opens, knows all that was accepted and nothing else, and goes on.
void expect_whole(const std::filesystem::path& path, const Options& options = {.expected_ids = 1}) {
  const Scope scope = Store::open(path, options).scope("orders");
  CHECK(count_known(scope) == kIds);
  CHECK_FALSE(scope.contains("never marked"));
  CHECK(scope.mark("marked by " + std::to_string(std::random_device{}())) == Verdict::fresh);
}

/// The Error's code, after a look at its sentence, which names `named`.
ErrorCode code_naming(const std::string& named, const std::function<void()>& call) {
  const std::string sentence = error_text_of(call);
  CAPTURE(sentence);
  CHECK(sentence.find(named) != std::string::npos);
  CHECK(sentence.find(' ') != std::string::npos);
  return error_code_of(call);
}

void write_at(const std::filesystem::path& path, std::uint64_t at, std::string_view bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.good());
}

std::string read_at(const std::filesystem::path& path, std::uint64_t at, std::size_t size) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  std::string bytes(size, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(size));
  REQUIRE(file.good());
  return bytes;
}

/// Runs `during` while another process has the store open.
template <typename During>
void while_open_elsewhere(const std::filesystem::path& path, const Options& options, During during) {
  const Shared<std::atomic<int>> stage;
  const pid_t child = spawn([&] {
    const Scope scope = Store::open(path, options).scope("orders");
    scope.contains(id_of(0));
    stage->store(1);
    expect(holds_soon([&] { return stage->load() == 2; }), "the other process comes to an end");
    for (int id = 0; id < kIds; ++id) expect(scope.contains(id_of(id)), "who had it open is not harmed");
    return 0;
  });
  REQUIRE(holds_soon([&] { return stage->load() == 1; }));
  during();
  stage->store(2);
  CHECK(wait_for(child) == 0);
}

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

TEST_CASE("a path that is not a store is an error that says what it is, and is left as it was") {
  const TempDir dir;
  SUBCASE("nothing, and creating is off") {
    CHECK(code_naming("nowhere", [&] { Store::open(dir / "nowhere", {.create = false}); }) == ErrorCode::not_found);
    CHECK(code_naming("nowhere", [&] { Store::open(dir / "nowhere", {.read_only = true}); }) == ErrorCode::not_found);
    CHECK_FALSE(std::filesystem::exists(dir / "nowhere"));
  }
  SUBCASE("an empty directory, and creating is off") {
    CHECK(error_code_of([&] { Store::open(dir.path(), {.create = false}); }) == ErrorCode::not_found);
  }
  SUBCASE("a file") {
    std::ofstream(dir / "file") << "text";
    CHECK(code_naming("file", [&] { Store::open(dir / "file"); }) == ErrorCode::not_a_store);
    CHECK(std::filesystem::file_size(dir / "file") == 4);
  }
  SUBCASE("a directory of other files") {
    std::ofstream(dir / "letter.txt") << "text";
    CHECK(code_naming("letter.txt", [&] { Store::open(dir.path()); }) == ErrorCode::not_a_store);
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
  }
  SUBCASE("another program's LMDB environment") {
    make_foreign_lmdb(dir / "other");
    CHECK(code_naming("other", [&] { Store::open(dir / "other"); }) == ErrorCode::not_a_store);
  }
  SUBCASE("a path through a file") {
    std::ofstream(dir / "file") << "text";
    const auto code = error_code_of([&] { Store::open(dir / "file" / "store"); });
    CHECK((code == ErrorCode::io || code == ErrorCode::not_a_store));
  }
}

TEST_CASE("a store of a newer format is an error that names both versions, and the store is left as it was") {
  const TempDir dir;
  make_store(dir / "store");
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
  CHECK(code_naming("version 7", [&] { Store::open(dir / "store"); }) == ErrorCode::newer_format);
  change_identity(dir / "store", [&](std::string& identity) { identity = original; });
  expect_whole(dir / "store");
}

TEST_CASE("a damaged identity record is an error") {
  const TempDir dir;
  make_store(dir / "store");
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

TEST_CASE("options that contradict the stored ones are an error that says which and what is stored") {
  const TempDir dir;
  const Options created{.retention = 2h, .buckets = 5, .expected_ids = 1};
  make_store(dir / "store", created);
  const auto check_all = [&] {
    const auto retention = [&] { Store::open(dir / "store", {.retention = 3h}); };
    CHECK(code_naming("retention of 2h", retention) == ErrorCode::options_mismatch);
    CHECK(code_naming("not 3h", retention) == ErrorCode::options_mismatch);
    CHECK(code_naming("5 buckets, not 6", [&] { Store::open(dir / "store", {.buckets = 6}); }) ==
          ErrorCode::options_mismatch);
  };
  check_all();
  {
    const Store open = Store::open(dir / "store", created);
    check_all();
    CHECK(error_code_of([&] { Store::open(dir / "store", {.live_dir = dir.path()}); }) == ErrorCode::live_dir_mismatch);
  }
  while_open_elsewhere(dir / "store", created, check_all);
  expect_whole(dir / "store", created);
}

TEST_CASE("an option outside its range is an error that names it") {
  const TempDir dir;
  const auto refused = [&](const std::string& named, const Options& options) {
    CHECK(code_naming(named, [&] { Store::open(dir / "store", options); }) == ErrorCode::invalid_argument);
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
    CHECK(code_naming("bytes", [&] { scope.mark(bad); }) == ErrorCode::invalid_argument);
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

TEST_CASE("a second process with another live_dir is an error that names both, and neither is harmed") {
  const TempDir dir;
  make_store(dir / "store");
  std::filesystem::create_directory(dir / "elsewhere");
  const Options elsewhere{.live_dir = dir / "elsewhere", .expected_ids = 1};
  while_open_elsewhere(dir / "store", {.expected_ids = 1}, [&] {
    CHECK(code_naming("elsewhere", [&] { Store::open(dir / "store", elsewhere); }) == ErrorCode::live_dir_mismatch);
    CHECK(code_naming((dir / "store").string(), [&] { Store::open(dir / "store", elsewhere); }) ==
          ErrorCode::live_dir_mismatch);
    CHECK(Store::open(dir / "store").scope("orders").contains(id_of(0)));
  });
  expect_whole(dir / "store", elsewhere);
  while_open_elsewhere(dir / "store", elsewhere, [&] {
    CHECK(error_code_of([&] { Store::open(dir / "store"); }) == ErrorCode::live_dir_mismatch);
    CHECK(Store::open(dir / "store", {.read_only = true}).scope("orders").contains(id_of(0)));
  });
  expect_whole(dir / "store");
}

TEST_CASE("truncated and foreign derived files are made anew while nobody has the store open, and nothing is lost") {
  const TempDir dir;
  make_store(dir / "store");
  make_store(dir / "other");
  const auto names = [&] {
    std::vector<std::string> all;
    for (const auto& file : derived_files(dir / "store")) all.push_back(file.filename());
    return all;
  }();
  REQUIRE(names.size() >= 4);
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto file = dir / "store" / name;
    const auto ruin = [&](const std::function<void()>& how) {
      if (!std::filesystem::exists(file)) return;  // The rebuilt store has fewer.
      how();
      expect_whole(dir / "store");
    };
    for (const std::uintmax_t size : {0U, 1U, 100U, 4095U, 4096U, 5000U, 10'000U}) {
      ruin([&] { std::filesystem::resize_file(file, std::min(size, std::filesystem::file_size(file))); });
    }
    ruin([&] { std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1); });
    ruin([&] { std::filesystem::resize_file(file, std::filesystem::file_size(file) + 4096); });
    ruin([&] { write_at(file, 0, std::string(4096, 'x')); });
    ruin([&] {
      if (std::filesystem::exists(dir / "other" / name)) copy_over(dir / "other" / name, file);
    });
    ruin([&] {
      std::filesystem::remove(file);
      std::filesystem::create_directory(file / "");
      std::filesystem::remove(file);
    });
  }
  for (const auto& file : derived_files(dir / "other")) copy_over(file, dir / "store" / file.filename());
  expect_whole(dir / "store");
  expect_whole(dir / "other");
}

TEST_CASE("a truncated, foreign or missing live file is in_use while another process has the store open") {
  const TempDir dir;
  make_store(dir / "store");
  make_store(dir / "other");
  const auto live = dir / "store" / "live";
  const auto refused = [&](const std::string& named) {
    CHECK(code_naming(named, [&] { Store::open(dir / "store", {.expected_ids = 1}); }) == ErrorCode::in_use);
  };
  while_open_elsewhere(dir / "store", {.expected_ids = 1}, [&] {
    // Moved aside, not cut: who has a file mapped that is cut short is beyond help.
    for (const char* name : {"live", "filter-", "index-"}) {
      const auto file = derived_files(dir / "store", name).front();
      CAPTURE(file);
      std::filesystem::rename(file, dir / "aside");
      refused(file.filename());
      const auto foreign = derived_files(dir / "other", name).front();
      std::filesystem::copy_file(foreign, file);
      refused(file.filename());
      std::filesystem::resize_file(file, 1'000);
      refused(file.filename());
      std::filesystem::rename(dir / "aside", file);
    }
    CHECK(Store::open(dir / "store", {.expected_ids = 1}).scope("orders").contains(id_of(0)));
  });
  expect_whole(dir / "store");
}

TEST_CASE(
    "a live file with flipped bits in its header never crashes who opens it, and nothing that was flushed is lost") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  make_store(dir / "store");
  copy_store(dir / "store", dir / "sound");
  for (std::uint64_t i = 0; i < scaled(300, 40); ++i) {
    CAPTURE(i);
    const auto live = dir / "store" / "live";
    // The header without the mutex, whose bytes are the C library's.
    std::uint64_t at = 0;
    do {
      at = random() % sizeof(internal::SharedHeader);
    } while (at >= offsetof(internal::SharedHeader, mutex) && at < offsetof(internal::SharedHeader, marks));
    std::string byte = read_at(live, at, 1);
    byte[0] = static_cast<char>(byte[0] ^ (1 << random() % 8));
    write_at(live, at, byte);
    CAPTURE(at);
    const int end = wait_for(spawn([&] {
      try {
        const Store store = Store::open(dir / "store", {.expected_ids = 1});
        const Scope scope = store.scope("orders");
        int known = 0;
        for (int id = 0; id < kIds; ++id) known += scope.contains(id_of(id));
        scope.mark("another");
        return known == kIds ? 0 : 1;
      } catch (const Error& error) {
        return 2;
      }
    }));
    CHECK(end >= 0);  // No signal. An Error is allowed, and so is a wrong answer: memory is trusted while it is in use.
    remove_derived(dir / "store");
    expect_whole(dir / "store");
    for (const auto& entry : std::filesystem::directory_iterator(dir / "store")) std::filesystem::remove(entry);
    // In place, so that data.mdb is the same file as far as its derived files can tell.
    copy_store(dir / "sound", dir / "store");
    expect_whole(dir / "store");
  }
}

TEST_CASE("an index full of hints to nonsense never makes a fresh id a duplicate, and never crashes") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  make_store(dir / "store");
  int wrong = 0;
  for (std::uint64_t i = 0; i < scaled(10, 2); ++i) {
    for (const auto& file : derived_files(dir / "store", "index-")) {
      const std::uint64_t slots = (std::filesystem::file_size(file) - internal::kFileHeaderBytes) / 8;
      for (std::uint64_t slot = 0; slot < slots; ++slot) {
        if (random() % 4 != 0) continue;
        std::string bytes = read_at(file, internal::kFileHeaderBytes + slot * 8, 8);
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data(), 8);
        if (word == 0) continue;
        // Keeps the tag, so that the hint is followed: to a place near or far, aligned to nothing.
        const std::uint64_t offset = random() % 2 == 0 ? random() : random() % (kIds * 8);
        word = (word >> 40 << 40) | (offset & ((std::uint64_t{1} << 40) - 1));
        std::memcpy(bytes.data(), &word, 8);
        write_at(file, internal::kFileHeaderBytes + slot * 8, bytes);
      }
    }
    // The filter says yes to everything, so that every look-up follows what the index says.
    for (const auto& file : derived_files(dir / "store", "filter-")) {
      write_at(file, internal::kFileHeaderBytes,
               std::string(std::filesystem::file_size(file) - internal::kFileHeaderBytes, '\xff'));
    }
    const int end = wait_for(spawn([&] {
      const Scope scope = Store::open(dir / "store", {.expected_ids = 1}).scope("orders");
      int bad = 0;
      for (int id = 0; id < kIds; ++id) {
        if (const auto record = scope.find(id_of(id)); record && record->id != id_of(id)) ++bad;
        const std::string fresh = "fresh " + std::to_string(i) + " " + std::to_string(id);
        bad += scope.contains(fresh);
        bad += scope.mark(fresh) != Verdict::fresh;
      }
      return std::min(bad, 50);
    }));
    CHECK(end == 0);
    wrong += end;
    remove_derived(dir / "store");
    expect_whole(dir / "store");
  }
  CHECK(wrong == 0);
}

TEST_CASE("a data.mdb that is damaged as a whole is an error, and the derived files do not hide it") {
  const TempDir dir;
  make_store(dir / "store");
  const auto data = dir / "store" / "data.mdb";
  SUBCASE("emptied") {
    std::filesystem::resize_file(data, 0);
    CHECK(code_naming("data.mdb", [&] { Store::open(dir / "store"); }) == ErrorCode::corrupt);
  }
  SUBCASE("replaced by garbage") {
    std::filesystem::remove(data);
    std::ofstream(data) << std::string(100'000, 'g');
    CHECK(code_naming("data.mdb", [&] { Store::open(dir / "store"); }) == ErrorCode::not_a_store);
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

TEST_CASE("a truncated data.mdb is an error or opens with all that was accepted, and never a crash") {
  const TempDir dir;
  make_store(dir / "store");
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
          for (int id = 0; id < kIds; ++id) {
            if (!scope.contains(id_of(id))) return 1;
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
  make_store(dir / "store");
  make_store(dir / "other");
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
  for (int id = 0; id < kIds; ++id) {
    REQUIRE_FALSE(scope.contains(id_of(id)));
    REQUIRE(scope.mark(id_of(id)) == Verdict::fresh);
  }
  store.sync();
  CHECK(count_known(scope) == kIds);
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

TEST_CASE("a store opened with read_only refuses to write, and follows what others write") {
  const TempDir dir;
  make_store(dir / "store");
  while_open_elsewhere(dir / "store", {.expected_ids = 1}, [&] {
    const Store reading = Store::open(dir / "store", {.read_only = true});
    const Scope scope = reading.scope("orders");
    CHECK(error_code_of([&] { scope.mark("a"); }) == ErrorCode::read_only);
    CHECK(error_code_of([&] { reading.sync(); }) == ErrorCode::read_only);
    CHECK(error_code_of([&] { reading.expire(); }) == ErrorCode::read_only);
    CHECK_FALSE(scope.contains("a"));
    CHECK(wait_for(spawn([&] {
            Store::open(dir / "store", {.expected_ids = 1}).scope("orders").mark("a");
            return 0;
          })) == 0);
    CHECK(scope.contains("a"));
  });
}
