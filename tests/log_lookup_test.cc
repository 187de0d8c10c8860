#include "log/log_lookup.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "lmdb/page_format.h"
#include "parts.h"
#include "shared.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

constexpr std::uint64_t kMapBytes = std::uint64_t{256} << 20;

/// A block in which each word is its own LSN, added to the log.
void append(const Log& log, lmdb::WriteTxn& txn, Lsn at, std::size_t bytes) {
  const auto room = log.append(txn, at, bytes);
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t lsn = at.value + i;
    std::memcpy(room.data() + i, &lsn, 8);
  }
}

bool is_of(lmdb::Bytes bytes, Lsn lsn) {
  std::uint64_t word = 0;
  if (bytes.size() >= 8) std::memcpy(&word, bytes.data(), 8);
  return word == lsn.value;
}

/// A log, and one thread's look-ups in it.
struct TestLog : Tables {
  explicit TestLog(std::uint64_t map_bytes = kMapBytes) : Tables(map_bytes) {}

  /// One commit of blocks of these sizes, with `gap` bytes before the first.
  void add(const std::vector<std::size_t>& sizes, std::uint64_t gap = 0) {
    lmdb::WriteTxn txn(env);
    end.value += gap;
    for (const std::size_t size : sizes) {
      append(*log, txn, end, size);
      end.value += size;
    }
    txn.commit();
  }
  void trim(Lsn limit) {
    lmdb::WriteTxn txn(env);
    log->trim(txn, limit, ~std::size_t{0});
    txn.commit();
  }

  /// Whether a look-up finds at each LSN what the tree finds; counts those that the table answers.
  std::size_t compare() { return compare(lookup); }
  std::size_t compare(LogLookup& with) {
    std::size_t by_table = 0;
    found_by_any = 0;
    const std::uint64_t step = std::max<std::uint64_t>(8, end.value / 4000 / 8 * 8);
    for (std::uint64_t lsn = 0; lsn < end.value + 64; lsn += step) {
      CAPTURE(lsn);
      LogLookup::Snapshot snapshot(with);
      const auto guess = with.guess(Lsn{lsn});
      const auto found = snapshot.find(Lsn{lsn}, guess);
      const auto right = Log::find(with.txn(), Lsn{lsn});
      REQUIRE(found.has_value() == right.has_value());
      if (!found) continue;
      ++found_by_any;
      REQUIRE(found->data() == right->data());
      REQUIRE(found->size() == right->size());
      REQUIRE(is_of(*found, Lsn{lsn}));
      by_table += guess.place && guess.place->bytes.data() == found->data() ? 1 : 0;
    }
    return by_table;
  }

  std::size_t found_by_any = 0;  // In the last comparison.
  Lsn end{8};
  BlockDirectory directory;
  LogLookup lookup{env, *log, directory};
};

}  // namespace

TEST_CASE("an empty log has no record, and the first block is found when it is there") {
  TestLog test;
  CHECK(test.compare() == 0);
  test.add({65'520});
  CHECK(test.compare() > 3000);
}

TEST_CASE("a look-up finds what the tree finds, in blocks of any size, with gaps, in large logs and small ones") {
  std::mt19937_64 random(std::random_device{}());
  for (const std::size_t largest : {std::size_t{512}, std::size_t{4080}, std::size_t{65'520}, std::size_t{1} << 20}) {
    CAPTURE(largest);
    TestLog test;
    const auto size = [&] { return (8 + random() % largest) / 8 * 8; };
    for (int commit = 0; commit < 40; ++commit) {
      std::vector<std::size_t> sizes;
      for (std::size_t n = 1 + random() % (largest > 65'520 ? 2 : 30); n > 0; --n) sizes.push_back(size());
      test.add(sizes, commit % 7 == 6 ? size() : 0);
      if (commit % 5 == 0) test.compare();
      if (commit % 10 == 9) test.trim(Lsn{random() % test.end.value});
    }
    const std::size_t by_table = test.compare();
    if (largest == 512) CHECK(by_table == 0);                      // They lie among others on a page, and move.
    if (largest > 4080) CHECK(2 * by_table >= test.found_by_any);  // Few may be left of the log.
  }
}

TEST_CASE("the table comes to hold all of a large log while records are looked for, and each thread uses it") {
  TestLog test;
  for (int commit = 0; commit < 10; ++commit) test.add(std::vector<std::size_t>(100, 4080));
  CHECK(test.compare() > 0);
  const std::size_t all = test.compare();
  CHECK(all > 3900);
  LogLookup other(test.env, *test.log, test.directory);
  { const LogLookup::Snapshot caught_up(other); }
  CHECK(test.compare(other) >= all);
}

TEST_CASE("what was deleted is not found, though its pages hold other blocks by now") {
  TestLog test;
  for (int commit = 0; commit < 60; ++commit) {
    test.add(std::vector<std::size_t>(8, 65'520));
    CHECK(test.compare() > 0);
    if (commit > 3) test.trim(Lsn{test.end.value - 16 * 65'520});
  }
  CHECK(test.compare() > 0);
  LogLookup::Snapshot snapshot(test.lookup);
  CHECK_FALSE(snapshot.find(Lsn{8}));
}

TEST_CASE("an old snapshot keeps what it sees while the log goes on, and a new one sees what came") {
  TestLog test;
  test.add({65'520, 65'520});
  test.compare();
  LogLookup other(test.env, *test.log, test.directory);
  {
    LogLookup::Snapshot old(test.lookup);
    const auto before = old.find(Lsn{16});
    REQUIRE(before);
    test.add({65'520, 65'520});
    test.trim(Lsn{65'528});
    test.add({65'520});
    CHECK(test.compare(other) > 0);
    CHECK_FALSE(LogLookup::Snapshot(other).find(Lsn{16}));
    CHECK(is_of(*before, Lsn{16}));
    CHECK(old.find(Lsn{16}));
  }
  CHECK(test.compare() > 0);
}

TEST_CASE("records are found wherever data.mdb is mapped while it grows") {
  const TempDir dir;
  const lmdb::Env env(dir.path(), MDB_NOTLS | MDB_NORDAHEAD, kMapBytes, 16, 8, std::uint64_t{1} << 20);
  std::optional<Log> log;
  {
    lmdb::WriteTxn txn(env);
    log.emplace(txn, MDB_CREATE);
    txn.commit();
  }
  BlockDirectory directory;
  LogLookup lookup(env, *log, directory);
  Lsn end{8};
  const std::uint64_t mapping = env.mapping();
  for (int commit = 0; commit < 100; ++commit) {
    lmdb::WriteTxn txn(env);
    for (int n = 0; n < 8; ++n, end.value += 65'520) append(*log, txn, end, 65'520);
    txn.commit();
    for (std::uint64_t lsn = 8; lsn < end.value; lsn += 32'760) {
      LogLookup::Snapshot snapshot(lookup);
      const auto found = snapshot.find(Lsn{lsn});
      REQUIRE(found);
      REQUIRE(is_of(*found, Lsn{lsn}));
    }
  }
  CHECK(env.mapping() > mapping);
}

namespace {

/// Appends blocks and deletes the oldest ones, `commits` times; `kept` bytes stay. Says before each commit from where
/// on they do.
void churn(const lmdb::Env& env, const Log& log, int commits, std::uint64_t kept, std::atomic<std::uint64_t>& end,
           std::atomic<std::uint64_t>& begin) {
  for (int commit = 0; commit < commits; ++commit) {
    std::uint64_t at = end.load(std::memory_order_relaxed);
    lmdb::WriteTxn txn(env);
    for (int n = 0; n < 4; ++n) {
      const std::size_t bytes = n == 3 ? 2048 + 8 * static_cast<std::size_t>(commit % 100) : 65'520;
      append(log, txn, Lsn{at}, bytes);
      at += bytes;
    }
    const std::uint64_t limit = at > kept ? at - kept : 0;
    begin.store(limit, std::memory_order_release);
    log.trim(txn, Lsn{limit}, 1000);
    txn.commit();
    end.store(at, std::memory_order_release);
  }
}

/// Looks for records between the two until `over`; what is missing or wrong is an error.
void look_for_all(LogLookup& lookup, const std::atomic<std::uint64_t>& end, const std::atomic<std::uint64_t>& begin,
                  const std::atomic<bool>& over, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  while (!over.load()) {
    const std::uint64_t from = begin.load(std::memory_order_acquire);
    const std::uint64_t to = end.load(std::memory_order_acquire);
    if (to <= 8) continue;
    const Lsn lsn{std::max<std::uint64_t>(8, (from + random() % (to - from)) / 8 * 8)};
    const auto guess = lookup.guess(lsn);
    LogLookup::Snapshot snapshot(lookup);
    const auto found = snapshot.find(lsn, guess);
    if (found) {
      expect(is_of(*found, lsn), "the record that was looked for");
    } else {
      // Deleted meanwhile.
      expect(lsn.value < begin.load(std::memory_order_acquire), "a record that was not deleted");
    }
  }
}

}  // namespace

TEST_CASE("threads find every record while another one appends and deletes blocks") {
  const Tables tables(kMapBytes);
  BlockDirectory directory;
  std::atomic<std::uint64_t> end{8};
  std::atomic<std::uint64_t> begin{8};
  std::atomic<bool> over{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    readers.emplace_back([&, seed] {
      LogLookup lookup(tables.env, *tables.log, directory);
      try {
        look_for_all(lookup, end, begin, over, seed);
      } catch (const std::exception&) {
        ++wrong;
      }
    });
  }
  churn(tables.env, *tables.log, 400, 16 * 65'520, end, begin);
  over = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong == 0);
}

TEST_CASE("a process finds every record while another one appends and deletes blocks") {
  const TempDir dir;
  const auto open = [&](auto work) {
    const lmdb::Env env(dir.path(), MDB_NOTLS | MDB_NORDAHEAD, kMapBytes, 16, 8);
    std::optional<Log> log;
    {
      lmdb::WriteTxn txn(env);
      log.emplace(txn, MDB_CREATE);
      txn.commit();
    }
    work(env, *log);
  };
  struct Watermarks {
    std::atomic<std::uint64_t> end{8};
    std::atomic<std::uint64_t> begin{8};
    std::atomic<bool> ready{false};
    std::atomic<bool> over{false};
  };
  const Shared<Watermarks> marks;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int code = 0;
    try {
      open([&](const lmdb::Env& env, const Log& log) {
        BlockDirectory directory;
        LogLookup lookup(env, log, directory);
        marks->ready = true;
        look_for_all(lookup, marks->end, marks->begin, marks->over, 3);
      });
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      code = 1;
    }
    ::_exit(code);
  }
  CHECK(holds_soon([&] { return marks->ready.load(); }));
  open([&](const lmdb::Env& env, const Log& log) { churn(env, log, 400, 16 * 65'520, marks->end, marks->begin); });
  marks->over = true;
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

namespace {

/// Damages one of the leaves of the log's tree, and returns the first block's LSN in it.
std::uint64_t damage_leaf(TestLog& test) {
  const int file = ::open((test.dir / "data.mdb").c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(file >= 0);
  // The last page that is a leaf with many entries is of the log: its last entries, or some before.
  const std::size_t page_bytes = test.env.page_bytes();
  std::uint64_t damaged_key = 0;
  for (std::uint64_t page = test.env.used_bytes() / page_bytes; page-- > 2 && damaged_key == 0;) {
    std::vector<std::byte> content(page_bytes);
    const auto at = static_cast<off_t>(page * page_bytes);
    REQUIRE(::pread(file, content.data(), page_bytes, at) == static_cast<ssize_t>(page_bytes));
    const auto header = lmdb::load<lmdb::PageHeader>(content, 0);
    if (header.number != page || header.flags != lmdb::kLeaf || header.lower < 16 + 2 * 50) continue;
    const auto node = lmdb::load<std::uint16_t>(content, 16);
    const auto key = lmdb::load<std::uint64_t>(content, node + lmdb::kNodeHeaderBytes);
    LogLookup::Snapshot snapshot(test.lookup);
    const auto entry = lmdb::seek(test.env, test.lookup.txn().cursor(), MDB_SET_RANGE, key);
    if (!entry || entry->key != key || key < test.end.value / 4) continue;
    // A page of another kind is what LMDB notices.
    content[10] = std::byte{0};
    if (::pwrite(file, content.data(), page_bytes, at) == static_cast<ssize_t>(page_bytes)) damaged_key = key;
  }
  REQUIRE(damaged_key != 0);
  ::close(file);
  return damaged_key;
}

}  // namespace

TEST_CASE("a page of the tree that is damaged hides the records behind it, and no others") {
  TestLog test;
  // Several leaves; the table must not have been there before.
  for (int commit = 0; commit < 4; ++commit) test.add(std::vector<std::size_t>(200, 2048));
  const std::uint64_t damaged_key = damage_leaf(test);
  const auto found = [&](Lsn lsn) {
    LogLookup::Snapshot snapshot(test.lookup);
    const auto bytes = snapshot.find(lsn);
    return bytes && is_of(*bytes, lsn);
  };
  for (int turn = 0; turn < 3; ++turn) {
    for (std::uint64_t lsn = 8; lsn < damaged_key - 2048; lsn += 2048) REQUIRE(found(Lsn{lsn}));
    CHECK(error_code_of([&] { found(Lsn{damaged_key + 8}); }) == ErrorCode::corrupt);
  }
}

TEST_CASE("after damage nobody gets the table of another map") {
  TestLog test;
  for (int commit = 0; commit < 4; ++commit) test.add(std::vector<std::size_t>(200, 2048));
  const std::uint64_t damaged_key = damage_leaf(test);
  for (int turn = 0; turn < 3; ++turn) CHECK_THROWS(LogLookup::Snapshot(test.lookup).find(Lsn{damaged_key + 8}));
  std::shared_ptr<const BlockTable> held;
  const auto extend = [&](const lmdb::Env& env, const Log& log) {
    lmdb::ReadTxn txn(env, log.dbi());
    const lmdb::ReadTxn::Active active(txn);
    test.directory.extend(txn, Lsn{8}, held);
  };
  extend(test.env, *test.log);
  REQUIRE(held);
  const TempDir dir;
  const lmdb::Env grown(dir.path(), MDB_NOTLS | MDB_NORDAHEAD, kMapBytes, 16, 8, std::uint64_t{1} << 20);
  std::optional<Log> log;
  for (std::uint64_t at = 8; grown.mapping() == test.env.mapping(); at += 65'520) {
    lmdb::WriteTxn txn(grown);
    if (!log) log.emplace(txn, MDB_CREATE);
    append(*log, txn, Lsn{at}, 65'520);
    txn.commit();
  }
  held.reset();
  extend(grown, *log);
  CHECK_FALSE(held);
}
