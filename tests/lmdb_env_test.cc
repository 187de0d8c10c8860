#include "lmdb/env.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "lmdb/handles.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

constexpr std::uint64_t kReserve = std::uint64_t{1} << 20;
constexpr std::uint64_t kLimit = std::uint64_t{64} << 20;
constexpr std::size_t kValueBytes = 100'000;

struct Table {
  explicit Table(const std::filesystem::path& path, std::uint64_t limit = kLimit)
      : env(path, MDB_NOTLS | MDB_NORDAHEAD, limit, 16, 4, kReserve) {
    lmdb::WriteTxn txn(env);
    dbi = txn.open_table("table", MDB_CREATE | MDB_INTEGERKEY);
    txn.commit();
  }

  void put(std::uint64_t key, std::size_t bytes = kValueBytes) const {
    const std::string value(bytes, static_cast<char>('a' + key % 26));
    lmdb::WriteTxn txn(env);
    txn.put(dbi, lmdb::to_val(key), lmdb::to_bytes(value));
    txn.commit();
  }

  bool holds(const lmdb::Txn& txn, std::uint64_t key, std::size_t bytes = kValueBytes) const {
    const auto value = txn.get(dbi, lmdb::to_val(key));
    return value && value->size() == bytes && (*value)[bytes - 1] == static_cast<std::byte>('a' + key % 26);
  }

  lmdb::Env env;
  MDB_dbi dbi = 0;
};

/// What closes lock.mdb, as a backup or a copy would, and with that drops the process's locks on it.
void drop_locks(const std::filesystem::path& directory) {
  const int file = ::open((directory / "lock.mdb").c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(file >= 0);
  ::close(file);
}

}  // namespace

TEST_CASE("the address space grows with the file while other threads read all the time") {
  const TempDir dir;
  const Table table(dir.path());
  table.put(0);
  CHECK(table.env.reserved_bytes() == kReserve);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> reads{0};
  const auto read = [&] {
    lmdb::ReadTxn txn(table.env, table.dbi);
    while (!stop.load()) {
      const lmdb::ReadTxn::Active active(txn);
      wrong += !table.holds(txn, 0);
      ++reads;
    }
  };
  std::thread first(read);
  std::thread second(read);
  for (std::uint64_t key = 1; key < 200; ++key) table.put(key);
  wait_until([&] { return reads.load() > 1000; });
  stop = true;
  first.join();
  second.join();
  CHECK(wrong == 0);
  CHECK(table.env.used_bytes() > 19 * kReserve);
  CHECK(table.env.reserved_bytes() >= table.env.used_bytes());
  CHECK(table.env.reserved_bytes() <= kLimit);
}

TEST_CASE("what another process has made larger is mapped again by the next reader and the next writer") {
  const TempDir dir;
  const Table table(dir.path());
  table.put(0);
  lmdb::ReadTxn parked(table.env, table.dbi);
  std::uint64_t last = 0;
  const auto let_another_fill = [&] {
    const std::uint64_t more = 2 * table.env.reserved_bytes() / kValueBytes;
    REQUIRE(wait_for(spawn([&] {
              const Table other(dir.path());
              for (std::uint64_t key = last + 1; key <= last + more; ++key) other.put(key);
              return 0;
            })) == 0);
    last += more;
  };
  let_another_fill();
  {
    const lmdb::ReadTxn::Active active(parked);
    CHECK(table.holds(parked, last));
  }
  let_another_fill();
  table.put(1000);
  const lmdb::ReadTxn::Active active(parked);
  CHECK(table.holds(parked, last));
  CHECK(table.holds(parked, 1000));
}

TEST_CASE("while a transaction goes on nothing is mapped again, and others write on with the room that there is") {
  const TempDir dir;
  const Table table(dir.path());
  table.put(0);
  {
    const lmdb::Txn scan(table.env, MDB_RDONLY);
    std::thread([&] {
      for (std::uint64_t key = 1; key < 7; ++key) table.put(key);
    }).join();
    CHECK(table.env.reserved_bytes() == kReserve);
    CHECK(table.holds(scan, 0));
  }
  for (std::uint64_t key = 7; key < 40; ++key) table.put(key);
  CHECK(table.env.reserved_bytes() > kReserve);
}

TEST_CASE("while a transaction stands in the way of more room, writers and look-ups wait for it seldom and not long") {
  const TempDir dir;
  const Table table(dir.path());
  std::uint64_t key = 0;
  while (table.env.used_bytes() <= kReserve - kReserve / 8) table.put(key++);
  REQUIRE(table.env.reserved_bytes() > kReserve);  // It had more before it came to that.
  const std::uint64_t reserve = table.env.reserved_bytes();
  {
    const lmdb::Txn scan(table.env, MDB_RDONLY);
    std::thread([&] {
      while (table.env.used_bytes() <= reserve - reserve / 8) table.put(key++);
      lmdb::ReadTxn look(table.env, table.dbi);
      // With a long wait for each, the test's time would be over.
      for (int i = 0; i < 300; ++i) {
        const lmdb::WriteTxn write(table.env);
        const lmdb::ReadTxn::Active active(look);
        CHECK(table.holds(look, 0));
      }
    }).join();
    CHECK(table.env.reserved_bytes() == reserve);
  }
  table.put(key);
  CHECK(table.env.reserved_bytes() > reserve);
}

TEST_CASE("a transaction that is larger than the room is refused once, with what to do, and then done") {
  const TempDir dir;
  const Table table(dir.path());
  std::string sentence;
  CHECK(error_code_of([&] { table.put(1, 2 * kReserve); }) == ErrorCode::full);
  for (int attempt = 0; attempt < 5 && table.env.reserved_bytes() < 4 * kReserve; ++attempt) {
    sentence = error_text_of([&] { table.put(1, 8 * kReserve); });
  }
  CHECK(sentence.find("try again") != std::string::npos);
  table.put(1, 2 * kReserve);
  const lmdb::Txn txn(table.env, MDB_RDONLY);
  CHECK(table.holds(txn, 1, 2 * kReserve));
}

TEST_CASE("the limit is where it ends, and the sentence names it") {
  const TempDir dir;
  const Table table(dir.path(), 2 * kReserve);
  const std::string sentence = error_text_of([&] {
    for (std::uint64_t key = 0; key < 100; ++key) table.put(key);
  });
  CHECK(sentence.find("map_bytes") != std::string::npos);
  CHECK(table.env.reserved_bytes() == 2 * kReserve);
}

TEST_CASE("a reader whose slot another process has freed takes another one") {
  const TempDir dir;
  const Table table(dir.path());
  table.put(1);
  lmdb::ReadTxn parked(table.env, table.dbi);
  {
    const lmdb::ReadTxn::Active active(parked);
    CHECK(table.holds(parked, 1));
  }
  drop_locks(dir.path());
  // To this one the process without its locks is dead, but lock.mdb is in use all the same.
  REQUIRE(wait_for(spawn([&] {
            const Table other(dir.path());
            other.env.reader_check();
            struct flock in_use {};
            in_use.l_type = F_WRLCK;
            in_use.l_whence = SEEK_SET;
            in_use.l_len = 1;
            const int file = ::open((dir / "lock.mdb").c_str(), O_RDWR | O_CLOEXEC);
            if (::fcntl(file, F_GETLK, &in_use) != 0) return 1;
            if (in_use.l_type == F_UNLCK) return 2;
            other.put(2);
            return 0;
          })) == 0);
  const lmdb::ReadTxn::Active active(parked);
  CHECK(table.holds(parked, 1));
  CHECK(table.holds(parked, 2));
}

TEST_CASE("a commit takes back the lock that says that the process lives") {
  const TempDir dir;
  const Table table(dir.path());
  table.put(1);
  const auto lives = [&] {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = ::getpid();
    lock.l_len = 1;
    return wait_for(spawn([&] {
             const int file = ::open((dir / "lock.mdb").c_str(), O_RDWR | O_CLOEXEC);
             return ::fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? 1 : 0;
           })) == 1;
  };
  drop_locks(dir.path());
  CHECK_FALSE(lives());
  table.put(2);
  CHECK(lives());
  drop_locks(dir.path());
  table.env.reader_check();
  CHECK(lives());
}
