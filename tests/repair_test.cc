#include <oncelog/repair.h>

#include <signal.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

#include "file_bytes.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "lmdb/pages.h"
#include "maintenance/store_check.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {
/// What statfs says that every file system is; the truth when 0.
decltype(std::declval<struct statfs>().f_type) pretended_filesystem = 0;
}  // namespace

/// In place of the C library's.
extern "C" int statfs(const char* path, struct statfs* status) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_statfs, path, status));
  if (result == 0 && pretended_filesystem != 0) status->f_type = pretended_filesystem;
  return result;
}

namespace lmdb = oncelog::internal::lmdb;

namespace {

const Options kOptions{.retention = 48h,
                       .buckets = 6,
                       .expected_ids = 1000,
                       .flush_interval = 1h,
                       .ring_bytes = std::uint64_t{1} << 20,
                       .map_bytes = std::uint64_t{1} << 30,
                       .max_readers = 64};

std::string id_of(unsigned i) {
  return "id-" + std::to_string(i);
}

void fill(const Store& store, unsigned ids) {
  const auto scope = store.scope("orders");
  const auto other = store.scope("payments");
  for (unsigned i = 0; i < ids; ++i) {
    scope.mark(id_of(i));
    if (i % 10 == 0) {
      other.mark(id_of(i), {.correlation = "chain-" + std::to_string(i % 70), .result = std::string(2000, 'r')});
    }
    if (i % 1000 == 0) store.sync();
  }
  store.transact([&](Transaction& tx) {
    for (unsigned i = 0; i < 500; ++i) tx.put("effects", "key-" + std::to_string(i), std::string(10 + i, 'e'));
    tx.put("effects", "large", std::string(100'000, 'l'));
  });
  store.sync();
  // A commit of its own, and so all that the commit before lacks.
  scope.mark("last");
  store.sync();
}

std::map<std::uint64_t, Record> records_of(const Store& store) {
  std::map<std::uint64_t, Record> records;
  store.scan({}, [&](const Record& record) {
    records.emplace(record.lsn.value, record);
    return true;
  });
  return records;
}

void zero_page(const std::filesystem::path& path, lmdb::PageNumber page) {
  overwrite(path, page * 4096, std::string(4096, '\0'));
}

std::string words_of(const std::vector<Problem>& problems) {
  std::string words;
  for (const Problem& problem : problems) words += problem.where + ": " + problem.sentence + "\n";
  return words;
}

/// Where the trees of the newest commit are.
struct Places {
  explicit Places(const std::filesystem::path& data) {
    const internal::DataFile file(data);
    const lmdb::Pages pages(file.fd(), data);
    const auto meta = *pages.newest();
    newest_meta = meta.page;
    main_root = meta.main.root;
    pages.tables(
        meta, [&](std::string_view name, const lmdb::TreeInfo& tree) { roots[std::string(name)] = tree.root; },
        [](const lmdb::Fault&) {});
    pages.each(
        *pages.table(meta, "log", {}),
        [&](const lmdb::TreeEntry& entry) {
          if (log_leaves.empty() || log_leaves.back() != entry.page) log_leaves.push_back(entry.page);
          if (entry.overflow != lmdb::kNoPage) runs.push_back(entry.overflow);
          return true;
        },
        [](const lmdb::Fault&) {});
  }

  lmdb::PageNumber newest_meta = 0;
  lmdb::PageNumber main_root = 0;
  std::map<std::string, lmdb::PageNumber> roots;
  std::vector<lmdb::PageNumber> log_leaves;
  std::vector<lmdb::PageNumber> runs;
};

/// The store that repair() makes is sound, takes marks, and has only records that the original had, each as it was.
void check_repaired(const std::filesystem::path& into, const std::map<std::uint64_t, Record>& original) {
  CHECK(words_of(verify(into, {.deep = true}).problems) == "");
  const auto store = Store::open(into, kOptions);  // Retention and buckets are as they were.
  for (const auto& [lsn, record] : records_of(store)) {
    REQUIRE(original.contains(lsn));
    const Record& was = original.at(lsn);
    CHECK(record.id == was.id);
    CHECK(record.processed_at == was.processed_at);
    CHECK(record.result == was.result);
    CHECK(record.correlation == was.correlation);
    CHECK(store.scope(record.scope).contains(record.id));
  }
  CHECK(store.scope("orders").mark("new") == Verdict::fresh);
  CHECK(store.scope("orders").mark("new", Ack::disk) == Verdict::duplicate);
}

}  // namespace

TEST_CASE("of a sound store everything is saved, and what was not flushed yet") {
  const TempDir dir;
  std::map<std::uint64_t, Record> original;
  const pid_t child = spawn([&] {
    const auto store = Store::open(dir / "store", kOptions);
    fill(store, 3000);
    const auto scope = store.scope("orders");
    for (unsigned i = 0; i < 100; ++i) scope.mark("unflushed-" + std::to_string(i));
    auto lock = store.lock("l", 1h);
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  REQUIRE(wait_for(child) == -SIGKILL);
  std::map<std::string, std::string> before;
  for (const auto& entry : std::filesystem::directory_iterator(dir / "store")) {
    before[entry.path().filename()] = contents_of(entry.path());
  }
  const auto report = repair(dir / "store", dir / "new");
  CHECK(words_of(report.problems) == "");
  CHECK(report.complete());
  CHECK(report.records == 3000 + 300 + 100 + 1);
  CHECK(report.from_shared_memory >= 1);
  CHECK(report.scopes == 2);
  CHECK(report.entries == 501);
  for (const auto& [name, bytes] : before) CHECK(contents_of(dir / "store" / name) == bytes);

  const auto store = Store::open(dir / "store", kOptions);
  original = records_of(store);
  CHECK(original.size() == 3401);
  {
    const auto fresh = Store::open(dir / "new", kOptions);
    CHECK(records_of(fresh).size() == original.size());
    CHECK(fresh.durable() == report.end);
    CHECK(fresh.get("effects", "large") == std::string(100'000, 'l'));
    CHECK(fresh.get("effects", "key-77") == store.get("effects", "key-77"));
    CHECK(fresh.correlated("chain-0").size() == store.correlated("chain-0").size());
    CHECK(fresh.scopes() == store.scopes());
    CHECK(fresh.lock("l", 1h).token() > store.lock("m", 1h).token());
    CHECK(fresh.known_since() < original.begin()->second.processed_at);
    CHECK(report.known_since < original.begin()->second.processed_at);
  }
  check_repaired(dir / "new", original);
}

namespace {

/// A closed store of 20,000 ids, to be damaged and repaired.
struct ToRepair {
  ToRepair() {
    {
      const auto store = Store::open(dir / "store", kOptions);
      fill(store, 20'000);
      original = records_of(store);
    }
    remove_derived(dir / "store");
    places.emplace(data());
    sound = contents_of(data());
  }

  std::filesystem::path data() const { return dir / "store/data.mdb"; }
  std::filesystem::path repaired() const { return dir / "new"; }
  RepairReport repair() const { return oncelog::repair(dir / "store", repaired()); }

  /// Of something that is needed.
  RepairReport repair_in_part() const {
    const auto report = repair();
    CHECK_FALSE(report.complete());
    return report;
  }

  TempDir dir;
  std::map<std::uint64_t, Record> original;
  std::optional<Places> places;
  std::string sound;  // What data.mdb holds.
};

}  // namespace

TEST_CASE("around a damaged page of the log everything is saved") {
  const ToRepair store;
  SUBCASE("in the middle of a block") {
    zero_page(store.data(), store.places->runs[3] + 5);
    const auto report = store.repair_in_part();
    // The records on the page, and the one that begins on the page before it, are lost.
    CHECK(report.records + 4096 / 24 + 2 >= store.original.size());
    CHECK(report.records < store.original.size());
    CHECK(report.entries == 501);
    // What is lost cannot be named: messages from before the repair are too old to be called fresh.
    const auto repaired = Store::open(store.repaired(), kOptions);
    CHECK(repaired.known_since() == report.known_since);
    CHECK(report.known_since > store.original.rbegin()->second.processed_at);
  }
  SUBCASE("the first one of a block") {
    zero_page(store.data(), store.places->runs[3]);
    const auto report = store.repair_in_part();
    CHECK(report.records < store.original.size());
    CHECK(report.records > store.original.size() * 3 / 4);
  }
  SUBCASE("a leaf") {
    zero_page(store.data(), store.places->log_leaves.front());
    CHECK(store.repair_in_part().entries == 501);
  }
  SUBCASE("all in the second half of the file, which ends early, but what leads to the records") {
    std::set<lmdb::PageNumber> kept(store.places->log_leaves.begin(), store.places->log_leaves.end());
    kept.insert({store.places->main_root, store.places->roots.at("log")});
    const lmdb::PageNumber half = store.sound.size() / 4096 / 2;
    for (lmdb::PageNumber page = half; page < store.sound.size() / 4096; ++page) {
      if (!kept.contains(page)) zero_page(store.data(), page);
    }
    std::filesystem::resize_file(store.data(), std::max(half, *kept.rbegin() + 1) * 4096);
    CHECK(store.repair_in_part().records > 0);
  }
  check_repaired(store.repaired(), store.original);
}

TEST_CASE("around a damaged page of another tree everything is saved") {
  const ToRepair store;
  SUBCASE("the root of all tables: the commit before leads to them") {
    zero_page(store.data(), store.places->main_root);
    const auto report = store.repair_in_part();
    CHECK(report.records >= store.original.size() - 1);
    CHECK(report.entries >= 500);
    CHECK(report.scopes == 2);
  }
  SUBCASE("the newer meta page") {
    zero_page(store.data(), store.places->newest_meta);
    CHECK(store.repair_in_part().records >= store.original.size() - 1);
  }
  SUBCASE("the identity, of which a copy lies on a page that nothing leads to") {
    const auto lost = store.places->roots.at("meta");
    const std::uint64_t number = store.sound.size() / 4096;
    std::string page = store.sound.substr(lost * 4096, 4096);
    page.replace(0, sizeof number, std::string_view(reinterpret_cast<const char*>(&number), sizeof number));
    std::filesystem::resize_file(store.data(), store.sound.size() + 4096);
    overwrite(store.data(), number * 4096, page);
    zero_page(store.data(), lost);
    CHECK(store.repair_in_part().records == store.original.size());
  }
  SUBCASE("the table of user entries") {
    zero_page(store.data(), store.places->roots.at("user"));
    CHECK(store.repair_in_part().records == store.original.size());
  }
  SUBCASE("the buckets' rows, which are not needed") {
    zero_page(store.data(), store.places->roots.at("buckets"));
    CHECK(store.repair().records == store.original.size());
  }
  check_repaired(store.repaired(), store.original);
}

TEST_CASE("where the scopes' names are damaged every record is saved, in scopes with names of their own") {
  const ToRepair store;
  zero_page(store.data(), store.places->roots.at("scopes"));
  CHECK(store.repair_in_part().records == store.original.size());
  const auto repaired = Store::open(store.repaired(), kOptions);
  CHECK(repaired.scopes() == std::vector<std::string>{"lost-scope-1", "lost-scope-2"});
  CHECK(repaired.scope("lost-scope-1").contains(id_of(1)));
  CHECK(repaired.scope("another").mark("x") == Verdict::fresh);
}

TEST_CASE("without the key of the checksums no record is believed, but tables are saved") {
  const TempDir dir;
  {
    const auto store = Store::open(dir / "store", kOptions);
    fill(store, 500);
  }
  remove_derived(dir / "store");
  const auto data = dir / "store/data.mdb";
  std::string bytes = contents_of(data);
  const std::string key = "identity";
  for (auto at = bytes.find(key); at != std::string::npos; at = bytes.find(key, at + 1)) {
    overwrite(data, at + key.size() + 24, "damaged!");  // The seed, in every copy.
  }
  const auto report = repair(dir / "store", dir / "new", {.retention = 1h, .buckets = 3});
  CHECK_FALSE(report.complete());
  CHECK(report.records == 0);
  CHECK(report.entries == 501);
  CHECK(report.scopes == 2);
  const auto store = Store::open(dir / "new", {.retention = 1h, .buckets = 3, .map_bytes = std::uint64_t{1} << 30});
  CHECK_FALSE(store.scope("orders").contains(id_of(1)));
  CHECK(store.scope("orders").mark(id_of(1), {.sent_at = report.known_since - 1s}) == Verdict::too_old);
  CHECK(store.get("effects", "key-77").has_value());
  CHECK(store.verify({.deep = true}).sound());
}

TEST_CASE("whatever bytes are damaged, repair ends, and saves no record that was not there") {
  const TempDir dir;
  std::map<std::uint64_t, Record> original;
  {
    const auto store = Store::open(dir / "store", kOptions);
    fill(store, 300);
    original = records_of(store);
  }
  remove_derived(dir / "store");
  const auto data = dir / "store/data.mdb";
  const std::string sound = contents_of(data);
  const auto seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  unsigned repaired = 0;
  for (std::uint64_t round = 0; round < scaled(120, 25); ++round) {
    const std::size_t pages = sound.size() / 4096;
    for (unsigned n = 0; n <= random() % 3; ++n) {
      const std::size_t at = random() % pages * 4096 + (random() % 2 == 0 ? random() % 200 : random() % 4096);
      const char byte = static_cast<char>(static_cast<unsigned char>(sound[at]) ^ 1U << random() % 8);
      overwrite(data, at, std::string_view(&byte, 1));
    }
    const auto into = dir / ("new-" + std::to_string(round));
    const pid_t child = spawn([&] {
      try {
        repair(dir / "store", into);
        return 0;
      } catch (const Error& error) {
        return error.code() == ErrorCode::corrupt ? 20 : 21;
      }
    });
    const int code = wait_for(child);
    CHECK((code == 0 || code == 20));
    if (code == 0) {
      ++repaired;
      const auto report = verify(into, {.deep = true});
      CHECK(words_of(report.problems) == "");
      Options look;
      look.read_only = true;
      for (const auto& [lsn, record] : records_of(Store::open(into, look))) {
        REQUIRE(original.contains(lsn));
        CHECK(original.at(lsn).id == record.id);
        CHECK(original.at(lsn).result == record.result);
      }
    }
    std::filesystem::remove_all(into);
    overwrite(data, 0, sound);
  }
  CHECK(repaired > 0);
}

TEST_CASE("a store that is open is not repaired, and nothing is overwritten") {
  const TempDir dir;
  {
    const auto store = Store::open(dir / "store", kOptions);
    store.scope("s").mark("id");
    CHECK(error_code_of([&] { repair(dir / "store", dir / "new"); }) == ErrorCode::in_use);
    CHECK(error_code_of([&] { rebuild_hints(dir / "store"); }) == ErrorCode::in_use);
    const pid_t child = spawn([&] {
      return error_code_of([&] { repair(dir / "store", dir / "new"); }) == ErrorCode::in_use &&
                     error_code_of([&] { rebuild_hints(dir / "store"); }) == ErrorCode::in_use
                 ? 0
                 : 1;
    });
    CHECK(wait_for(child) == 0);
  }
  CHECK(error_code_of([&] { repair(dir / "store", dir / "store"); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { repair(dir / "none", dir / "new"); }) == ErrorCode::not_found);
  CHECK_FALSE(std::filesystem::exists(dir / "new"));
}

TEST_CASE("hints that are damaged are made again, and what was not flushed is kept") {
  const TempDir dir;
  for (const bool elsewhere : {false, true}) {
    CAPTURE(elsewhere);
    const auto path = dir / (elsewhere ? "store-2" : "store-1");
    Options options = kOptions;
    if (elsewhere) options.live_dir = dir / "live-dir";
    const pid_t child = spawn([&] {
      const auto store = Store::open(path, options);
      fill(store, 3000);
      for (unsigned i = 0; i < 100; ++i) store.scope("orders").mark("unflushed-" + std::to_string(i));
      ::kill(::getpid(), SIGKILL);
      return 0;
    });
    REQUIRE(wait_for(child) == -SIGKILL);
    std::filesystem::path live_dir = path;
    if (elsewhere) {
      for (const auto& entry : std::filesystem::directory_iterator(dir / "live-dir")) live_dir = entry.path();
    }
    for (const auto& file : derived_files(live_dir, "filter-")) {
      overwrite(file, 4096, std::string(std::filesystem::file_size(file) - 4096, '\0'));
    }
    CHECK_FALSE(verify(path, {.deep = true, .live_dir = options.live_dir}).sound());
    rebuild_hints(path, {.live_dir = options.live_dir});
    CHECK(verify(path, {.deep = true, .live_dir = options.live_dir}).sound());
    const auto store = Store::open(path, options);
    for (unsigned i = 0; i < 3000; ++i) CHECK(store.scope("orders").contains(id_of(i)));
    for (unsigned i = 0; i < 100; ++i) CHECK(store.scope("orders").contains("unflushed-" + std::to_string(i)));
  }
}

TEST_CASE("on a network file system hints are made again when that is allowed, and a store is saved from it anyway") {
  const TempDir dir;
  { fill(Store::open(dir / "store", kOptions), 10); }
  for (const auto& file : derived_files(dir / "store", "filter-")) std::filesystem::remove(file);
  pretended_filesystem = 0x6969;  // NFS
  CHECK(error_code_of([&] { rebuild_hints(dir / "store"); }) == ErrorCode::unsupported);
  CHECK_NOTHROW(rebuild_hints(dir / "store", {.allow_network_filesystem = true}));
  CHECK_NOTHROW(repair(dir / "store", dir / "new"));
  pretended_filesystem = 0;
  CHECK(verify(dir / "store", {.deep = true}).sound());
}
