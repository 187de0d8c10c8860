#include <oncelog/verify.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <set>

#include <oncelog/repair.h>

#include "file_bytes.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "lmdb/pages.h"
#include "log/log.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;
namespace lmdb = oncelog::internal::lmdb;

namespace {

const Options kOptions{.expected_ids = 1000,
                       .flush_interval = 1h,
                       .ring_bytes = std::uint64_t{1} << 20,
                       .map_bytes = std::uint64_t{1} << 30,
                       .max_readers = 64};

/// A store with two scopes, records of all kinds, and a user table, in a directory of its own; closed.
void fill(const std::filesystem::path& dir, unsigned ids = 5000) {
  const auto store = Store::open(dir, kOptions);
  const auto scope = store.scope("orders");
  const auto other = store.scope("payments");
  const std::string result(3000, 'r');
  for (unsigned i = 0; i < ids; ++i) {
    const std::string id = "id-" + std::to_string(i);
    scope.mark(id);
    if (i % 10 == 0) other.mark(id, {.correlation = "chain-" + std::to_string(i % 70), .result = result});
    if (i % 1000 == 0) store.sync();
  }
  scope.forget("id-3");
  store.transact([&](Transaction& tx) {
    tx.mark(scope, "in-transaction");
    for (unsigned i = 0; i < 300; ++i) tx.put("effects", "key-" + std::to_string(i), std::string(100 + i, 'e'));
    tx.put("effects", "large", std::string(100'000, 'l'));
  });
}

std::string words_of(const VerifyReport& report) {
  std::string words;
  for (const Problem& problem : report.problems) {
    words += std::string(to_string(problem.kind)) + " " + problem.where + ": " + problem.sentence + "\n";
  }
  return words;
}

std::set<ProblemKind> kinds_of(const VerifyReport& report) {
  std::set<ProblemKind> kinds;
  std::set<std::string> all;
  for (const Problem& problem : report.problems) {
    kinds.insert(problem.kind);
    CHECK(all.insert(problem.where + problem.sentence + problem.meaning).second);  // Each is reported once.
    CHECK(!problem.where.empty());
    CHECK(!problem.sentence.empty());
    CHECK(!problem.meaning.empty());
    CHECK(!problem.remedy.empty());
  }
  return kinds;
}

/// Changes tables of a store that nobody has open, behind its back.
void change(const std::filesystem::path& dir,
            const std::function<void(lmdb::WriteTxn&, internal::Catalog&, internal::Log&)>& work) {
  const lmdb::Env env(dir, MDB_NOTLS, kOptions.map_bytes, 64, 8);
  lmdb::WriteTxn txn(env);
  internal::Catalog catalog(txn, 0);
  internal::Log log(txn, 0);
  work(txn, catalog, log);
  txn.commit();
}

}  // namespace

TEST_CASE("a sound store verifies clean, closed and open, shallow and deep") {
  const TempDir dir;
  fill(dir.path());
  for (const bool deep : {false, true}) {
    const auto report = verify(dir.path(), {.deep = deep});
    CHECK(words_of(report) == "");
    CHECK(report.sound());
    CHECK(report.records == 5000 + 500 + 2);
    CHECK(report.deep == deep);
    CHECK(report.looked_up == (deep ? report.records : 0));
    CHECK(report.pages > 20);
    CHECK(report.blocks >= 6);
  }
  const auto store = Store::open(dir.path(), kOptions);
  const auto scope = store.scope("orders");
  Lsn last;
  for (unsigned i = 0; i < 50; ++i) last = scope.mark("later-" + std::to_string(i), {.correlation = "chain-0"}).lsn;
  std::vector<std::string> stages;
  const auto report = store.verify({.deep = true}, [&](const VerifyProgress& at) { stages.emplace_back(at.stage); });
  CHECK(words_of(report) == "");
  // What is not flushed yet is looked at as well.
  CHECK(report.records == 5000 + 500 + 2 + 50);
  CHECK(report.looked_up == report.records);
  CHECK(report.end > last);
  CHECK(verify(dir.path()).sound());  // By the handle that is open.
}

TEST_CASE("a store that nobody has open is verified without a change to it, unless deep") {
  const TempDir dir;
  fill(dir.path());
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    if (entry.path().filename() != "data.mdb") std::filesystem::remove(entry.path());
  }
  const std::string before = contents_of(dir / "data.mdb");
  const auto report = verify(dir.path());
  CHECK(words_of(report) == "");
  CHECK(report.records == 5000 + 500 + 2);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
  CHECK(contents_of(dir / "data.mdb") == before);
  CHECK(verify(dir.path(), {.deep = true, .map_bytes = std::uint64_t{1} << 26}).sound());
  CHECK(error_code_of([&] { verify(dir.path(), {.deep = true, .map_bytes = 1}); }) == ErrorCode::invalid_argument);
}

TEST_CASE("verify ends although more is marked than it reads") {
  const TempDir dir;
  const auto store = Store::open(dir.path(), kOptions);
  const auto scope = store.scope("orders");
  const std::string result(4000, 'r');
  unsigned marked = 0;
  // More than lies between two calls of the hook.
  const auto mark_some = [&] {
    for (unsigned i = 0; i < 1500; ++i) scope.mark("id-" + std::to_string(marked++), {.result = result});
    store.sync();
  };
  for (unsigned i = 0; i < 4; ++i) mark_some();  // More than is read from one snapshot.
  unsigned calls = 0;
  const auto report = store.verify({}, [&](const VerifyProgress& at) {
    if (at.stage == "records" && ++calls < 12) mark_some();
  });
  CHECK(words_of(report) == "");
  CHECK(calls > 0);
  CHECK(calls < 9);
  CHECK(report.records >= 6000);
  CHECK(report.records < 6000 + 20);  // In the block that was the last one.
}

TEST_CASE("a count that damage has made huge takes no memory") {
  const TempDir dir;
  fill(dir.path(), 300);
  const std::string bytes = contents_of(dir / "data.mdb");
  // The description of table "scopes", wherever it was written: entries come after 32 bytes.
  const std::uint64_t huge = std::uint64_t{1} << 40;
  const std::string_view name = "scopes";
  for (std::size_t at = 0; (at = bytes.find(name, at)) != std::string::npos; at += name.size()) {
    overwrite(dir / "data.mdb", at + name.size() + 32,
              std::string_view(reinterpret_cast<const char*>(&huge), sizeof huge));
  }
  const int code = wait_for(spawn([&] {
    const auto peak_kib = [] {
      rusage usage{};
      ::getrusage(RUSAGE_SELF, &usage);
      return usage.ru_maxrss;
    };
    const long before = peak_kib();
    if (verify(dir.path()).sound()) return 20;
    return peak_kib() - before < 200'000 ? 0 : 21;
  }));
  CHECK(code == 0);
}

TEST_CASE("a store that three processes mark, expire and transact in verifies clean again and again") {
  const TempDir dir;
  const Options busy{.retention = 400ms,
                     .expected_ids = 2000,
                     .flush_interval = 2ms,
                     .ring_bytes = std::uint64_t{1} << 20,
                     .map_bytes = std::uint64_t{1} << 30};
  Store::open(dir.path(), busy).scope("s").mark("first");
  int stop[2];
  REQUIRE(::pipe(stop) == 0);
  std::vector<pid_t> children;
  for (int p = 0; p < 3; ++p) {
    children.push_back(spawn([&] {
      ::close(stop[1]);
      ::fcntl(stop[0], F_SETFL, O_NONBLOCK);
      const auto store = Store::open(dir.path(), busy);
      const auto scope = store.scope("s");
      char byte = 0;
      for (std::uint64_t i = 0; ::read(stop[0], &byte, 1) != 0; ++i) {
        const std::string id = std::to_string(p) + "-" + std::to_string(i);
        const std::string chain = "chain-" + std::to_string(i % 7);
        scope.mark(id, i % 5 == 0 ? Attributes{.correlation = chain} : Attributes{});
        if (i % 500 == 0) {
          store.transact([&](Transaction& tx) {
            tx.mark(scope, id + "-tx");
            tx.put("t", std::to_string(i % 5000), std::string(i % 9000, 'v'));
            tx.erase("t", std::to_string((i + 2500) % 5000));
          });
        }
      }
      return 0;
    }));
  }
  std::uint64_t records = 0;
  for (unsigned round = 0; round < scaled(25, 6); ++round) {
    // Opened by itself, and through a handle.
    const auto report = round % 2 == 0 ? verify(dir.path(), {.deep = round % 4 == 0})
                                       : Store::open(dir.path(), busy).verify({.deep = round % 4 == 1});
    CHECK(words_of(report) == "");
    records += report.records;
  }
  ::close(stop[1]);
  ::close(stop[0]);
  for (const pid_t child : children) CHECK(wait_for(child) == 0);
  CHECK(records > 1000);
  CHECK(words_of(verify(dir.path(), {.deep = true})) == "");
}

TEST_CASE("damage in the log and the rows is found and named") {
  const TempDir dir;
  fill(dir.path());
  remove_derived(dir.path());

  SUBCASE("a byte of a record") {
    // Of an id, in the middle of a block that lies in pages of its own.
    const std::string data = contents_of(dir / "data.mdb");
    const auto at = data.find("id-1234");
    REQUIRE(at != std::string::npos);
    for (auto each = at; each != std::string::npos; each = data.find("id-1234", each + 1)) {
      overwrite(dir / "data.mdb", each + 4, "X");
    }
    const auto report = verify(dir.path());
    CHECK(kinds_of(report) == std::set{ProblemKind::record});
    CHECK(report.records == 5000 + 500 + 2 - report.problem_count);
  }
  SUBCASE("a block lost") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog&, internal::Log& log) {
      lmdb::Cursor cursor(txn, log.dbi());
      lmdb::seek(txn.env(), cursor.get(), MDB_FIRST);
      lmdb::seek(txn.env(), cursor.get(), MDB_NEXT);
      cursor.del();
    });
    const auto report = verify(dir.path());
    CHECK(kinds_of(report) == std::set{ProblemKind::block});
    CHECK(report.problems.front().sentence.find("gap") != std::string::npos);
  }
  SUBCASE("a block of a size that no block has") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog&, internal::Log& log) {
      const Lsn end = *log.end(txn);
      std::ranges::fill(log.append(txn, end, 13), std::byte{1});
    });
    CHECK(kinds_of(verify(dir.path())).contains(ProblemKind::block));
  }
  SUBCASE("a row that has its bucket expire too early") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog& catalog, internal::Log&) {
      auto [number, row] = catalog.buckets(txn).back();
      row.newest_us -= 1;
      catalog.put_bucket(txn, number, row);
    });
    CHECK(kinds_of(verify(dir.path())) == std::set{ProblemKind::bucket});
  }
  SUBCASE("a row that counts too few") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog& catalog, internal::Log&) {
      auto [number, row] = catalog.buckets(txn).back();
      row.entries -= 1;
      catalog.put_bucket(txn, number, row);
    });
    CHECK(kinds_of(verify(dir.path())).contains(ProblemKind::bucket));
  }
  SUBCASE("records that belong to no row") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog& catalog, internal::Log&) {
      catalog.drop_buckets_below(txn, catalog.buckets(txn).back().first + 1);
    });
    CHECK(kinds_of(verify(dir.path())) == std::set{ProblemKind::bucket});
  }
  SUBCASE("a row that begins nowhere") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog& catalog, internal::Log&) {
      auto [number, row] = catalog.buckets(txn).back();
      row.first_lsn = std::uint64_t{1} << 50;
      catalog.put_bucket(txn, number, row);
    });
    CHECK(kinds_of(verify(dir.path())).contains(ProblemKind::bucket));
  }
}

namespace {

MDB_val text_key(std::string_view key) {
  return lmdb::to_val(lmdb::to_bytes(key));
}

}  // namespace

TEST_CASE("damage in the scopes, the numbers and what leads to them is found and named") {
  const TempDir dir;
  fill(dir.path());
  remove_derived(dir.path());

  SUBCASE("a scope without its number") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog&, internal::Log&) {
      txn.put(txn.open_table("scopes", 0), text_key("payments"), lmdb::to_bytes(std::string_view("\1\0\0\0", 4)));
    });
    CHECK(kinds_of(verify(dir.path())) == std::set{ProblemKind::scope});
  }
  SUBCASE("a scope lost") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog&, internal::Log&) {
      REQUIRE(txn.del(txn.open_table("scopes", 0), text_key("payments")));
    });
    CHECK(kinds_of(verify(dir.path())) == std::set{ProblemKind::scope});
  }
  SUBCASE("numbers out of their limits") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog& catalog, internal::Log&) {
      catalog.put_number(txn, internal::Catalog::Number::token_epoch, std::uint64_t{1} << 24);
      catalog.put_number(txn, internal::Catalog::Number::known_since_us, std::uint64_t{1} << 53);
    });
    const auto report = verify(dir.path());
    CHECK(kinds_of(report) == std::set{ProblemKind::number});
    CHECK(report.problem_count == 2);
  }
  SUBCASE("the identity lost") {
    change(dir.path(), [&](lmdb::WriteTxn& txn, internal::Catalog&, internal::Log&) {
      REQUIRE(txn.del(txn.open_table("meta", 0), text_key("identity")));
    });
    CHECK(kinds_of(verify(dir.path())).contains(ProblemKind::identity));
  }
  SUBCASE("a meta page lost") {
    overwrite(dir / "data.mdb", 4096, std::string(4096, '\0'));
    CHECK(kinds_of(verify(dir.path())).contains(ProblemKind::meta));
  }
  SUBCASE("both meta pages lost") {
    overwrite(dir / "data.mdb", 0, std::string(2 * 4096, '\0'));
    CHECK(kinds_of(verify(dir.path())).contains(ProblemKind::meta));
  }
  SUBCASE("a file that is cut off") {
    std::filesystem::resize_file(dir / "data.mdb", std::filesystem::file_size(dir / "data.mdb") / 2 / 4096 * 4096);
    CHECK(kinds_of(verify(dir.path())).contains(ProblemKind::page));
  }
}

TEST_CASE("damage of filter and index files that makes a known id fresh is found") {
  const TempDir dir;
  fill(dir.path());
  { Store::open(dir.path(), kOptions); }
  const auto seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const auto files = derived_files(dir.path());
  const std::string all = contents_of(files.front());
  unsigned wrong = 0;
  for (std::uint64_t round = 0; round < scaled(60, 20); ++round) {
    std::vector<std::filesystem::path> hints;
    for (const auto& file : files) {
      if (file.filename() != "live") hints.push_back(file);
    }
    const auto file = hints[random() % hints.size()];
    const std::string sound = contents_of(file);
    std::string bytes = sound;
    const std::size_t at = 4096 + random() % (bytes.size() - 4096);
    const std::size_t count = std::min<std::size_t>(1 + random() % 3000, bytes.size() - at);
    for (std::size_t i = at; i < at + count; ++i) bytes[i] = round % 2 == 0 ? '\0' : static_cast<char>(random());
    overwrite(file, 0, bytes);
    CAPTURE(file);
    const auto report = verify(dir.path(), {.deep = true});
    bool fresh = false;
    {
      Options look = kOptions;
      look.read_only = true;
      const auto store = Store::open(dir.path(), look);
      const auto scope = store.scope("orders");
      const auto other = store.scope("payments");
      for (unsigned i = 0; i < 5000; ++i) {
        const std::string id = "id-" + std::to_string(i);
        if (i != 3 && !scope.contains(id)) fresh = true;
        if (i % 10 == 0 && !other.contains(id)) fresh = true;
      }
      for (unsigned i = 0; i < 7; ++i) {
        if (store.correlated("chain-" + std::to_string(i * 10)).empty()) fresh = true;
      }
    }
    wrong += fresh;
    if (fresh) CHECK(kinds_of(report) == std::set{ProblemKind::hint});
    overwrite(file, 0, sound);
  }
  CHECK(wrong > 0);
  CHECK(words_of(verify(dir.path(), {.deep = true})) == "");
}

TEST_CASE("a damaged data.mdb never crashes what verifies it, and no record whose checksum fails is counted") {
  const TempDir dir;
  fill(dir / "sound", 300);
  remove_derived(dir / "sound");
  const std::string sound = contents_of(dir / "sound" / "data.mdb");
  const auto seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  unsigned found = 0;
  for (std::uint64_t round = 0; round < scaled(150, 30); ++round) {
    const auto copy = dir / std::to_string(round);
    copy_store(dir / "sound", copy);
    const std::size_t page = random() % (sound.size() / 4096);
    const std::size_t at = page * 4096 + (random() % 2 == 0 ? random() % 200 : random() % 4096);
    const char byte = static_cast<char>(static_cast<unsigned char>(sound[at]) ^ 1U << random() % 8);
    overwrite(copy / "data.mdb", at, std::string_view(&byte, 1));
    CAPTURE(at);
    // In a child: a crash there is a crash of the process that verifies.
    const pid_t child = spawn([&] {
      try {
        const auto report = verify(copy, {.deep = true});
        for (const Problem& problem : report.problems) {
          if (problem.sentence.empty() || problem.meaning.empty() || problem.remedy.empty()) return 22;
        }
        if (report.records > 300 + 30 + 2) return 23;
        return report.sound() ? 0 : 20;
      } catch (const Error&) {
        return 21;
      }
    });
    const int code = wait_for(child);
    CHECK((code == 0 || code == 20 || code == 21));
    found += code != 0;
    std::filesystem::remove_all(copy);
  }
  CHECK(found > 0);
}

TEST_CASE("what is no store is an error and not a problem") {
  const TempDir dir;
  CHECK(error_code_of([&] { verify(dir / "none"); }) == ErrorCode::not_found);
  CHECK(error_code_of([&] { verify(dir.path()); }) == ErrorCode::not_found);
  {
    const lmdb::Env env(dir.path(), MDB_NOTLS, std::uint64_t{1} << 20, 8, 8);
    lmdb::WriteTxn txn(env);
    txn.open_table("of another program", MDB_CREATE);
    txn.commit();
  }
  CHECK(error_code_of([&] { verify(dir.path()); }) == ErrorCode::not_a_store);
}

TEST_CASE("a file of sealed hints that is damaged is a problem, until the hints are rebuilt") {
  const TempDir dir;
  const auto path = dir / "store";
  const auto id_of = [](std::size_t i) { return "id-" + std::to_string(i); };
  const Ids ids(17'000, id_of);
  {
    const auto store = Store::open(path, {.flush_interval = 1ms});
    std::vector<Marked> marked(ids.size());
    store.scope("orders").mark(ids, marked);
    wait_until([&] { return store.metrics().sealed_buckets == 1; });
    CHECK(store.metrics().unsealed_bytes == 0);
  }
  REQUIRE(verify(path).sound());
  for (const char* prefix : {"sealed-index-", "sealed-column-"}) {
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      if (!entry.path().filename().string().starts_with(prefix)) continue;
      overwrite(entry.path(), std::filesystem::file_size(entry.path()) / 2, "damage");
    }
  }
  for (const bool deep : {false, true}) {
    const auto report = verify(path, {.deep = deep});
    CAPTURE(words_of(report));
    REQUIRE(report.problems.size() == 2);
    CHECK(report.problems[0].kind == ProblemKind::hint);
    CHECK(report.problems[0].where.starts_with("sealed-"));
  }
  rebuild_hints(path);
  CHECK(verify(path, {.deep = true}).sound());
  const auto store = Store::open(path);
  for (std::size_t i = 0; i < ids.size(); ++i) REQUIRE(store.scope("orders").contains(ids[i]));
}
