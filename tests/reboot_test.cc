#include <signal.h>

#include <random>
#include <string>
#include <vector>

#include "shared.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

const Options kOptions{.retention = 1h, .buckets = 4, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 1 << 20};

std::string id_of(int number) {
  return "message-" + std::to_string(number);
}

/// Marks ids from `first` up to `end`, each of which must be fresh, while time passes over a bucket boundary or two.
void mark_fresh(const Scope& scope, FakeHost& host, int first, int end) {
  for (int id = first; id < end; ++id) {
    REQUIRE(scope.mark(id_of(id)) == Verdict::fresh);
    host.advance(100ms);
  }
}

int known(const Scope& scope, int first, int end) {
  int count = 0;
  for (int id = first; id < end; ++id)
    count += scope.contains(id_of(id)) && scope.mark(id_of(id)) == Verdict::duplicate;
  return count;
}

/// Runs the machine until its power fails: marks 20,000 ids, syncs, and marks 500 more that never reach the disk. A
/// process of its own does it and is killed, so that no orderly end saves anything.
void run_until_power_fails(const std::filesystem::path& path, FakeHost& host) {
  const pid_t child = spawn([&]() -> int {
    const Store store = StoreAccess::open(path, kOptions, host);
    const Scope scope = store.scope("orders");
    mark_fresh(scope, host, 0, 20'000);
    store.sync();
    mark_fresh(scope, host, 20'000, 20'500);
    ::raise(SIGKILL);
    return 0;
  });
  REQUIRE(wait_for(child) == -SIGKILL);
}

void expect_all_synced(const std::filesystem::path& path, FakeHost& host) {
  const Store store = StoreAccess::open(path, kOptions, host);
  const Scope scope = store.scope("orders");
  CHECK(known(scope, 0, 20'000) == 20'000);
  // Those not synced are wholly there or wholly gone, and can be marked either way.
  for (int id = 20'000; id < 20'500; ++id) {
    const bool there = scope.contains(id_of(id));
    REQUIRE(scope.mark(id_of(id)) == (there ? Verdict::duplicate : Verdict::fresh));
    REQUIRE(scope.mark(id_of(id)) == Verdict::duplicate);
  }
  store.sync();
  CHECK(known(scope, 0, 20'500) == 20'500);
  int scanned = 0;
  store.scan({}, [&](const Record&) { return ++scanned > 0; });
  CHECK(scanned == 20'500);
}

}  // namespace

TEST_CASE("after a reboot all synced ids are duplicates") {
  const TempDir dir;
  const Shared<FakeHost> host;
  const auto path = dir / "store";
  run_until_power_fails(path, *host);
  host->reboot();
  SUBCASE("with every derived file of the former boot still there") {}
  SUBCASE("with every derived file gone") {
    remove_derived(path);
  }
  SUBCASE("with only the live file gone") {
    std::filesystem::remove(path / "live");
  }
  SUBCASE("with only the live file left") {
    for (const char* prefix : {"filter-", "index-"}) {
      for (const auto& file : derived_files(path, prefix)) std::filesystem::remove(file);
    }
  }
  SUBCASE("with derived files that a power failure left as zeros") {
    for (const auto& file : derived_files(path)) {
      const auto size = std::filesystem::file_size(file);
      std::filesystem::resize_file(file, 0);
      std::filesystem::resize_file(file, size);
    }
  }
  SUBCASE("with derived files that a power failure left empty") {
    for (const auto& file : derived_files(path)) std::filesystem::resize_file(file, 0);
  }
  SUBCASE("with the lock files gone as well") {
    remove_derived(path);
    std::filesystem::remove(path / "lock.mdb");
    std::filesystem::remove(path / "oncelog.lock");
  }
  SUBCASE("with the shared memory placed elsewhere from now on") {
    std::filesystem::create_directory(dir / "elsewhere");
    Options elsewhere = kOptions;
    elsewhere.live_dir = dir / "elsewhere";
    const Scope scope = StoreAccess::open(path, elsewhere, *host).scope("orders");
    CHECK(known(scope, 0, 20'000) == 20'000);
  }
  expect_all_synced(path, *host);
}

TEST_CASE("after reboot upon reboot, each with another mix of stale files, all synced ids are duplicates") {
  const std::uint64_t seed = test_seed();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const TempDir dir;
  const auto path = dir / "store";
  FakeHost host;
  std::vector<std::filesystem::path> kept;  // Copies of derived files of all former boots.
  std::filesystem::create_directory(dir / "kept");
  int synced = 0;
  for (int boot = 0; boot < static_cast<int>(scaled(40, 10)); ++boot) {
    CAPTURE(boot);
    {
      const Store store = StoreAccess::open(path, kOptions, host);
      const Scope scope = store.scope("orders");
      REQUIRE(known(scope, 0, synced) == synced);
      mark_fresh(scope, host, synced, synced + 100);
      synced += 100;
      store.sync();
    }
    for (const auto& file : derived_files(path)) {
      const auto copy = dir / "kept" / (file.filename().string() + "." + std::to_string(boot));
      if (random() % 3 == 0) std::filesystem::copy_file(file, copy), kept.push_back(copy);
      if (random() % 3 == 0) std::filesystem::remove(file);
    }
    if (random() % 4 != 0) host.reboot();
    for (const auto& copy : kept) {
      // A file of some former boot, under its own name or under that of another of its kind.
      const auto name = random() % 2 == 0 || derived_files(path).empty()
                            ? copy.stem()
                            : derived_files(path)[random() % derived_files(path).size()].filename();
      if (name != "live" || copy.stem() == "live") {
        if (random() % 8 == 0) copy_over(copy, path / name);
      }
    }
  }
}

TEST_CASE("a copy of data.mdb taken after a sync is the whole store, whatever stale files are put beside it") {
  const TempDir dir;
  const Shared<FakeHost> host;
  const auto path = dir / "store";
  const auto copy = dir / "copy";
  std::filesystem::create_directory(copy);
  {
    const Store store = StoreAccess::open(path, kOptions, *host);
    const Scope scope = store.scope("orders");
    mark_fresh(scope, *host, 0, 20'000);
    store.sync();
    // In a process of its own: closing a copy of LMDB's descriptors would drop this one's locks.
    REQUIRE(wait_for(spawn([&] {
              std::filesystem::copy_file(path / "data.mdb", copy / "data.mdb");
              return 0;
            })) == 0);
    mark_fresh(scope, *host, 20'000, 20'500);
  }
  for (const auto& file : derived_files(path)) copy_over(file, copy / file.filename());
  SUBCASE("in the same boot") {}
  SUBCASE("after a reboot") {
    host->reboot();
  }
  expect_all_synced(copy, *host);
}

TEST_CASE("ids that expired before a reboot stay expired, and those that did not are measured by the time since") {
  const TempDir dir;
  FakeHost host;
  {
    const Scope scope = StoreAccess::open(dir / "store", kOptions, host).scope("orders");
    scope.mark("old");
    host.advance(59min);
    scope.mark("young");
  }
  host.reboot();
  host.advance(1min);
  const Scope scope = StoreAccess::open(dir / "store", kOptions, host).scope("orders");
  CHECK_FALSE(scope.contains("old"));
  CHECK(scope.contains("young"));
  host.advance(59min);
  CHECK_FALSE(scope.contains("young"));
}

TEST_CASE("LSNs go on rising over a reboot although everything has expired") {
  const TempDir dir;
  FakeHost host;
  Lsn last;
  for (int boot = 0; boot < 5; ++boot) {
    const Store store = StoreAccess::open(dir / "store", kOptions, host);
    const Marked marked = store.scope("orders").mark("the same id");
    CHECK(marked == Verdict::fresh);
    CHECK(marked.lsn > last);
    last = marked.lsn;
    host.advance(2h);
    store.expire();
    host.reboot();  // The store closes after it: a live file of a boot that is over is what the next one finds.
  }
}
