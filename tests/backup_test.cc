#include <oncelog/backup.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include <oncelog/repair.h>

#include "file_bytes.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "maintenance/staged_directory.h"
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
                       .map_bytes = std::uint64_t{1} << 30};

std::size_t entries_in(const std::filesystem::path& dir) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(dir)) ++count;
  return count;
}

}  // namespace

TEST_CASE("a backup holds every mark that was made before it, and is a store of its own") {
  const TempDir dir;
  const auto store = Store::open(dir / "store", kOptions);
  const auto scope = store.scope("s");
  Lsn last;
  for (unsigned i = 0; i < 3000; ++i) last = scope.mark("id-" + std::to_string(i)).lsn;
  CHECK(store.durable() <= last);  // It is in the ring alone.
  store.transact([&](Transaction& tx) { tx.put("t", "key", "value"); });
  const auto report = store.backup(dir / "parents/that/are/made");
  CHECK(report.below > last);
  CHECK(report.below <= store.durable());
  CHECK(report.bytes == std::filesystem::file_size(dir / "parents/that/are/made/data.mdb"));
  CHECK(entries_in(dir / "parents/that/are/made") == 1);
  CHECK(entries_in(dir / "parents/that/are") == 1);  // Nothing unfinished.
  scope.mark("after");
  store.sync();

  const auto copy = Store::open(dir / "parents/that/are/made", kOptions);
  CHECK(copy.durable() == report.below);
  for (unsigned i = 0; i < 3000; ++i) CHECK(copy.scope("s").contains("id-" + std::to_string(i)));
  CHECK_FALSE(copy.scope("s").contains("after"));
  CHECK(copy.get("t", "key") == "value");
  CHECK(copy.verify({.deep = true}).sound());
}

TEST_CASE("a backup is packed densely") {
  const TempDir dir;
  const auto store = Store::open(dir / "store", kOptions);
  store.transact([&](Transaction& tx) {
    for (unsigned i = 0; i < 2000; ++i) tx.put("t", "key-" + std::to_string(i), std::string(1000, 'v'));
  });
  store.transact([&](Transaction& tx) {
    for (unsigned i = 0; i < 2000; ++i) tx.erase("t", "key-" + std::to_string(i));
  });
  CHECK(store.backup(dir / "backup").bytes < 40 * 4096);
  CHECK(std::filesystem::file_size(dir / "store/data.mdb") > 400 * 4096);
}

TEST_CASE("backups of a store that other processes write are whole, each by itself") {
  const TempDir dir;
  const Options busy{.expected_ids = 1000, .flush_interval = 1ms, .map_bytes = std::uint64_t{1} << 30};
  const auto store = Store::open(dir / "store", busy);
  store.scope("s").mark("first");
  int stop[2];
  REQUIRE(::pipe(stop) == 0);
  const auto writer = [&](const std::string& name) {
    return spawn([&] {
      ::close(stop[1]);
      ::fcntl(stop[0], F_SETFL, O_NONBLOCK);
      const auto mine = Store::open(dir / "store", busy);
      const auto scope = mine.scope("s");
      char byte = 0;
      for (unsigned i = 0; ::read(stop[0], &byte, 1) != 0; ++i) {
        scope.mark(name + std::to_string(i));
        if (i % 100 == 0) {
          mine.transact([&](Transaction& tx) {
            tx.put("pairs", name + "a", std::to_string(i));
            tx.put("pairs", name + "b", std::to_string(i));
          });
        }
      }
      return 0;
    });
  };
  const pid_t one = writer("one-");
  const pid_t two = writer("two-");
  for (unsigned round = 0; round < scaled(8, 3); ++round) {
    const Lsn mine = store.scope("s").mark("round-" + std::to_string(round)).lsn;
    const auto path = dir / ("backup-" + std::to_string(round));
    CHECK(store.backup(path).below > mine);
    const auto report = verify(path, {.deep = true});
    CHECK(report.sound());
    const auto copy = Store::open(path, busy);
    CHECK(copy.scope("s").contains("round-" + std::to_string(round)));
    CHECK(copy.get("pairs", "one-a") == copy.get("pairs", "one-b"));
    CHECK(copy.get("pairs", "two-a") == copy.get("pairs", "two-b"));
  }
  ::close(stop[1]);
  ::close(stop[0]);
  CHECK(wait_for(one) == 0);
  CHECK(wait_for(two) == 0);
}

TEST_CASE("a backup overwrites nothing, and leaves nothing half-made") {
  const TempDir dir;
  const auto store = Store::open(dir / "store", kOptions);
  store.scope("s").mark("id");
  store.backup(dir / "backup");
  CHECK(error_code_of([&] { store.backup(dir / "backup"); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { store.backup(dir / "store"); }) == ErrorCode::invalid_argument);
  std::ofstream(dir / "file") << "mine";
  CHECK(error_code_of([&] { store.backup(dir / "file"); }) == ErrorCode::invalid_argument);
  CHECK(error_text_of([&] { store.backup(dir / "file"); }).find("never overwritten") != std::string::npos);
  std::filesystem::create_directory(dir / "empty");
  CHECK(store.backup(dir / "empty/").bytes > 0);
  store.transact([&](Transaction&) {
    CHECK(error_code_of([&] { store.backup(dir / "within"); }) == ErrorCode::invalid_argument);
  });
  CHECK(entries_in(dir.path()) == 4);
}

TEST_CASE("a backup is not made in the store, nor without a name") {
  const TempDir dir;
  const auto store = Store::open(dir / "store", kOptions);
  store.scope("s").mark("id");
  std::filesystem::create_directory_symlink(dir / "store", dir / "link");
  for (const auto* target : {"store/backup", "store/a/b", "link/backup"}) {
    CAPTURE(target);
    CHECK(error_code_of([&] { store.backup(dir / target); }) == ErrorCode::invalid_argument);
    CHECK(error_text_of([&] { store.backup(dir / target); }).find("is inside of the store") != std::string::npos);
  }
  CHECK(error_text_of([&] { store.backup(""); }).find("name is empty") != std::string::npos);
  store.backup(dir / "store-2");
  CHECK(error_code_of([&] { restore(dir / "store-2", dir / "store-2/new"); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { repair(dir / "store-2", dir / "store-2/new"); }) == ErrorCode::invalid_argument);
  CHECK(entries_in(dir / "store-2") == 1);
}

TEST_CASE("what a backup that was killed has left is removed by the next one, and no other's") {
  const TempDir dir;
  const auto unfinished = [&] {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
      if (entry.path().filename().string().starts_with(".backup.unfinished-")) found.push_back(entry.path());
    }
    return found;
  };
  // Each stays in the middle of making one, until it is killed or told to go on.
  int go_on[2];
  REQUIRE(::pipe2(go_on, O_CLOEXEC) == 0);
  const auto start = [&] {
    return spawn([&] {
      internal::StagedDirectory staged(dir / "backup", dir.path() / "none");
      std::ofstream(staged.path() / "data.mdb") << "half of it";
      char byte = 0;
      if (::read(go_on[0], &byte, 1) != 1) return 20;
      staged.publish();
      return 0;
    });
  };
  const auto has_begun = [&](std::size_t count) {
    std::size_t begun = 0;
    for (const auto& path : unfinished()) begun += std::filesystem::exists(path / "data.mdb") ? 1 : 0;
    return begun == count;
  };
  const pid_t killed = start();
  wait_until([&] { return has_begun(1); });
  const auto abandoned = unfinished().front();
  const pid_t other = start();
  wait_until([&] { return has_begun(2); });
  CHECK(unfinished().size() == 2);  // The one does not remove the other.
  REQUIRE(::kill(killed, SIGKILL) == 0);
  wait_for(killed);
  CHECK(unfinished().size() == 2);
  const pid_t third = start();
  wait_until([&] {
    const auto there = unfinished();
    return std::ranges::find(there, abandoned) == there.end() && has_begun(2);
  });
  REQUIRE(::kill(third, SIGKILL) == 0);
  wait_for(third);
  REQUIRE(::write(go_on[1], "x", 1) == 1);
  CHECK(wait_for(other) == 0);
  CHECK(contents_of(dir / "backup" / "data.mdb") == "half of it");
  std::filesystem::remove_all(dir / "backup");
  const auto store = Store::open(dir / "store", kOptions);
  store.scope("s").mark("id");
  store.backup(dir / "backup");
  CHECK(unfinished().empty());
  ::close(go_on[0]);
  ::close(go_on[1]);
}

TEST_CASE("of a backup that claims to be larger than it is, the pages are restored that there are") {
  const TempDir dir;
  {
    const auto store = Store::open(dir / "store", kOptions);
    store.scope("s").mark("id");
    store.backup(dir / "backup");
  }
  const auto bytes = std::filesystem::file_size(dir / "backup/data.mdb");
  std::filesystem::resize_file(dir / "backup/data.mdb", std::uintmax_t{1} << 40);
  const auto report = restore(dir / "backup", dir / "restored");
  CHECK(report.bytes <= bytes + 16 * 4096);
  CHECK(std::filesystem::file_size(dir / "restored/data.mdb") == report.bytes);
  CHECK(Store::open(dir / "restored", kOptions).scope("s").contains("id"));
}

TEST_CASE("a restored store remembers the backup, and gives no token again") {
  const TempDir dir;
  std::uint64_t last_token = 0;
  {
    const auto store = Store::open(dir / "store", kOptions);
    const auto scope = store.scope("s");
    scope.mark("before");
    CHECK(store.lock("l", 1h).token() > 0);
    store.backup(dir / "backup");
    scope.mark("after");
    last_token = store.lock("l", 1h).token();
  }
  // As after many boots: another epoch for each.
  for (unsigned boot = 0; boot < 20; ++boot) {
    remove_derived(dir / "store");
    const auto token = Store::open(dir / "store", kOptions).lock("l", 1h).token();
    CHECK(token > last_token);
    last_token = token;
  }
  const auto before = std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now());
  const auto report = restore(dir / "backup", dir / "restored");
  CHECK(report.known_since >= before);
  CHECK(entries_in(dir / "backup") == 1);
  CHECK(entries_in(dir / "restored") == 1);

  const auto store = Store::open(dir / "restored", kOptions);
  const auto scope = store.scope("s");
  CHECK(store.lock("l", 1h).token() > last_token);
  CHECK(scope.contains("before"));
  CHECK(store.durable() == report.below);
  CHECK(store.known_since() >= report.known_since);
  // What was processed after the backup is not known: a message that says when it was sent is told so.
  CHECK(scope.mark("after", {.sent_at = before - 1s}) == Verdict::too_old);
  CHECK(scope.mark("before", {.sent_at = before - 1s}) == Verdict::duplicate);
  CHECK(scope.mark("new", {.sent_at = report.known_since + 1s}) == Verdict::fresh);
  CHECK(scope.mark("after") == Verdict::fresh);
  CHECK(store.verify({.deep = true}).sound());
}

namespace {

std::uint64_t epoch_of(std::uint64_t token) {
  return token >> 40;
}

/// The epoch that `directory` holds is set to this, as its last boot would have.
void set_epoch(const std::filesystem::path& directory, std::uint64_t epoch) {
  const lmdb::Env env(directory, MDB_NOTLS, std::uint64_t{1} << 30, 8, 8);
  lmdb::WriteTxn txn(env);
  const internal::Catalog catalog(txn, 0);
  catalog.put_number(txn, internal::Catalog::Number::token_epoch, epoch);
  txn.commit();
}

}  // namespace

TEST_CASE("a store that is restored a minute after another one of the same backup gives tokens above all of its") {
  const TempDir dir;
  FakeHost host;
  bool with_record = false;
  bool restored_before = false;
  SUBCASE("of a backup that has records") {
    with_record = true;
  }
  SUBCASE("of a backup that has none, but was restored itself") {
    restored_before = true;
  }
  SUBCASE("of a backup that has neither"){} {
    const auto store = StoreAccess::open(dir / "store", kOptions, host);
    if (with_record) store.scope("s").mark("id");
    REQUIRE(epoch_of(store.lock("l", 1h).token()) == 1);
    store.backup(dir / "backup");
  }
  // Its file is of the system's today.
  const std::chrono::sys_time<std::chrono::microseconds> written{std::chrono::microseconds{host.wall_us()}};
  std::filesystem::last_write_time(dir / "backup/data.mdb", std::filesystem::file_time_type::clock::from_sys(written));
  std::filesystem::path backup = dir / "backup";
  std::uint64_t epoch = 1;
  if (restored_before) {
    backup = dir / "restored-before";
    StoreAccess::restore(dir / "backup", backup, {}, host);
    std::filesystem::remove(backup / "lock.mdb");
    epoch += kRestoreEpochs;
  }
  const auto restored_epoch = [&](const std::string& name) {
    return StoreAccess::restore(backup, dir / name, {}, host).token_epoch;
  };
  CHECK(restored_epoch("at once") == epoch + kRestoreEpochs);
  std::uint64_t last_token = 0;
  for (const std::string name : {"one", "two", "three"}) {
    CAPTURE(name);
    host.advance(name == "three" ? 3min : 1min);
    restored_epoch(name);
    const auto store = StoreAccess::open(dir / name, kOptions, host);
    const auto token = store.lock("l", 1h).token();
    CHECK(token > last_token);
    for (unsigned i = 0; i < 4; ++i) last_token = store.lock("l", 1h).token();
  }
  CHECK(restored_epoch("after five minutes") == epoch + kRestoreEpochs + 5);
  host.advance(59s);
  CHECK(restored_epoch("and 59 seconds") == epoch + kRestoreEpochs + 5);
  if (restored_before) return;  // Set back behind the earlier restore, the clock is an error.
  host.step_wall(-1h);
  CHECK(restored_epoch("by a clock that was set back") == epoch + kRestoreEpochs);
}

TEST_CASE("a clock that is wrong by decades leaves a restored store epochs to be booted and restored in") {
  constexpr std::uint64_t kEpochs = std::uint64_t{1} << 24;
  const TempDir dir;
  FakeHost host;
  {
    const auto store = StoreAccess::open(dir / "store", kOptions, host);
    store.scope("s").mark("id");
    store.backup(dir / "backup");
  }
  host.step_wall(std::chrono::hours{24 * 365 * 60});
  CHECK(StoreAccess::restore(dir / "backup", dir / "new", {}, host).token_epoch == kEpochs - 1 - kRestoreEpochs);
  CHECK(epoch_of(StoreAccess::open(dir / "new", kOptions, host).lock("l", 1h).token()) == kEpochs - kRestoreEpochs);
  // Near the end the minutes are left out, and the rest is given all the same.
  set_epoch(dir / "backup", kEpochs - 1 - kRestoreEpochs);
  std::filesystem::remove(dir / "backup/lock.mdb");
  CHECK(StoreAccess::restore(dir / "backup", dir / "last", {}, host).token_epoch == kEpochs - 1);
  // Whose tokens would begin again at 0.
  const auto last = StoreAccess::open(dir / "last", kOptions, host);
  CHECK(error_code_naming("no fencing token is left", [&] { last.lock("l", 1h); }) == ErrorCode::full);
  CHECK(error_code_naming("no fencing token is left", [&] { last.transact([](Transaction&) {}); }) == ErrorCode::full);
  CHECK(last.scope("s").mark("other") == Verdict::fresh);
}

TEST_CASE("what cannot be restored is refused with a sentence") {
  const TempDir dir;
  const auto store = Store::open(dir / "store", kOptions);
  store.scope("s").mark("id");
  store.backup(dir / "backup");
  CHECK(error_code_of([&] { restore(dir / "none", dir / "new"); }) == ErrorCode::not_found);
  CHECK(error_code_of([&] { restore(dir / "backup", dir / "store"); }) == ErrorCode::invalid_argument);
  CHECK(error_code_of([&] { restore(dir / "store", dir / "new"); }) == ErrorCode::in_use);

  SUBCASE("a backup that is damaged") {
    const auto size = std::filesystem::file_size(dir / "backup/data.mdb");
    overwrite(dir / "backup/data.mdb", size - 4096 + 8, std::string(100, 'x'));
    CHECK(error_code_of([&] { restore(dir / "backup", dir / "new"); }) == ErrorCode::corrupt);
  }
  SUBCASE("tokens that have no epoch left") {
    set_epoch(dir / "backup", (std::uint64_t{1} << 24) - kRestoreEpochs);
    CHECK(error_code_of([&] { restore(dir / "backup", dir / "new"); }) == ErrorCode::corrupt);
    CHECK(error_text_of([&] { restore(dir / "backup", dir / "new"); }).find("epoch") != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists(dir / "new"));
  CHECK(entries_in(dir.path()) == 2);
}
