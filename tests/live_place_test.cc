#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "marked_store.h"
#include "shared.h"
#include "shared/live_place.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using internal::BootTmpfs;

namespace {

constexpr uid_t kNobody = 65534;

/// A machine whose files in memory lie where the test says.
class TmpfsHost final : public internal::Host {
 public:
  explicit TmpfsHost(const std::filesystem::path& directory) : tmpfs(BootTmpfs{.directory = directory}) {}

  internal::Uuid boot_id() const override { return host.boot_id(); }
  std::int64_t wall_us() const override { return host.wall_us(); }
  std::int64_t boot_us() const override { return host.boot_us(); }
  std::optional<BootTmpfs> boot_tmpfs(uid_t /*owner*/) const override { return tmpfs; }

  FakeHost host;
  std::optional<BootTmpfs> tmpfs;
};

/// A directory on a tmpfs, one on a disk for stores, and a machine that has the former.
struct Place {
  TempDir memory{memory_directory()};
  TempDir dir{"/var/tmp"};  // Whatever TMPDIR is: a store in memory has no need to choose.
  TmpfsHost host{memory.path()};
  std::filesystem::path path = dir / "store";

  Store open(const Options& options = {.expected_ids = 1}) const { return StoreAccess::open(path, options, host); }
  /// The directories of stores in the tmpfs.
  std::vector<std::filesystem::path> directories() const {
    return {std::filesystem::directory_iterator(memory.path()), std::filesystem::directory_iterator()};
  }
  /// The store's own directory, as metrics() reports it.
  std::filesystem::path own() const { return std::filesystem::weakly_canonical(path); }
  bool has_live_in_store() const { return std::filesystem::exists(path / "live"); }
};

Options read_only() {
  return {.read_only = true};
}

/// Where a store's shared memory would lie in the tmpfs.
std::filesystem::path chosen_directory(const Place& place) {
  std::filesystem::path chosen = place.open().metrics().live_dir;
  REQUIRE(chosen.parent_path() == std::filesystem::canonical(place.memory.path()));
  return chosen;
}

/// Runs `body` as an ordinary user in a child; false when this one is not root.
bool as_nobody(const std::function<int()>& body) {
  if (::geteuid() != 0) {
    MESSAGE("skipped: only root can become another user");
    return false;
  }
  CHECK(wait_for(spawn([&] {
          expect(::setgid(kNobody) == 0 && ::setuid(kNobody) == 0, "root becomes another user");
          return body();
        })) == 0);
  return true;
}

/// Marks an id and dies before it is flushed.
void die_with_mark(const Place& place, const Options& options) {
  CHECK(wait_for(spawn([&]() -> int {
          const Store store = place.open(options);
          store.scope("orders").mark("unflushed");
          ::raise(SIGKILL);
          return 0;
        })) == -SIGKILL);
}

}  // namespace

TEST_CASE("a store of which nothing is said keeps its shared memory in the host's tmpfs, and others follow") {
  const Place place;
  {
    const Store store = place.open();
    CHECK(store.scope("orders").mark("a") == Verdict::fresh);
    const Metrics metrics = store.metrics();
    CHECK(metrics.live_dir_chosen);
    REQUIRE(place.directories().size() == 1);
    CHECK(std::filesystem::equivalent(metrics.live_dir, place.directories().front()));
    CHECK(derived_files(metrics.live_dir).size() >= 3);
    CHECK(derived_files(place.path).empty());
    const pid_t other = spawn([&] {
      // It has not even the same tmpfs to choose from.
      const Store same = StoreAccess::open(place.path, {.expected_ids = 1}, place.host.host);
      expect(same.scope("orders").contains("a"), "it sees the mark");
      expect(same.metrics().live_dir == metrics.live_dir && same.metrics().live_dir_chosen, "it has followed");
      return 0;
    });
    CHECK(wait_for(other) == 0);
    // A second handle of this process follows as well.
    CHECK(place.open({}).metrics().live_dir == metrics.live_dir);
  }
  // Closed in between.
  CHECK(StoreAccess::open(place.path, read_only(), place.host.host).scope("orders").contains("a"));
  CHECK(place.directories().size() == 1);
}

TEST_CASE("a tmpfs is chosen when a quarter of it, and a third of what is free, is as much as is planned") {
  const Options options{.expected_ids = 1'000'000};
  const std::uint64_t planned = internal::planned_bytes(internal::Settings{}.with(options), kDefaultBuckets, {});
  CHECK(planned > kDefaultRingBytes);
  Place place;
  bool fits = true;
  SUBCASE("all of it is free") {}
  SUBCASE("just enough memory is free") {
    place.host.tmpfs->free_memory = 3 * planned;
  }
  SUBCASE("a byte less is free") {
    place.host.tmpfs->free_memory = 3 * planned - 1;
    fits = false;
  }
  SUBCASE("its control group may just take it") {
    place.host.tmpfs->memory_limit = 4 * planned;
  }
  SUBCASE("its control group may take a byte less") {
    place.host.tmpfs->memory_limit = 4 * planned - 1;
    fits = false;
  }
  const Metrics metrics = place.open(options).metrics();
  CHECK(metrics.live_dir_chosen);
  CHECK((metrics.live_dir != place.own()) == fits);
  CHECK(place.has_live_in_store() == !fits);
  CHECK(place.directories().size() == (fits ? 1 : 0));
  // What is planned is what it takes.
  std::uint64_t taken = 0;
  for (const auto& file : derived_files(metrics.live_dir)) taken += std::filesystem::file_size(file);
  CHECK(taken <= planned);
  CHECK(taken > planned / 2);
}

TEST_CASE("what a store held when it was open last is planned for, whatever its options say") {
  const internal::Settings settings;
  const std::uint64_t planned = internal::planned_bytes(settings, kDefaultBuckets, {});
  const std::uint64_t outgrown = internal::planned_bytes(settings, kDefaultBuckets, {{1, {.entries = 10'000'000}}});
  CHECK(outgrown > planned + std::uint64_t{10'000'000} * 8);
  // A damaged number is no reason not to open it.
  CHECK(internal::planned_bytes(settings, kMaxBuckets, {{1, {.entries = ~std::uint64_t{0}}}}) > outgrown);
}

TEST_CASE("a container's /dev/shm of 64 MiB has no room for the default plan, and a larger one has") {
  const Place place;
  const auto open_in = [&](const char* size) {
    return spawn([&place, size] {
      if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
          ::mount("tmpfs", place.memory.path().c_str(), "tmpfs", 0, size) != 0) {
        return 77;
      }
      const Metrics metrics = StoreAccess::open(place.dir / size, {}, place.host).metrics();
      return metrics.live_dir.parent_path() == std::filesystem::canonical(place.memory.path()) ? 1 : 0;
    });
  };
  const int in_small = wait_for(open_in("size=64m"));
  if (in_small == 77) {
    MESSAGE("skipped: this system does not permit a mount namespace");
    return;
  }
  CHECK(in_small == 0);
  CHECK(wait_for(open_in("size=1g")) == 1);
}

TEST_CASE("a disk, a directory that is not there, or one that must not be written to is not chosen") {
  Place place;
  const TempDir disk("/var/tmp");
  SUBCASE("a disk") {
    place.host.tmpfs->directory = disk.path();
  }
  SUBCASE("nothing") {
    place.host.tmpfs->directory = place.memory / "nothing";
  }
  SUBCASE("no tmpfs at all") {
    place.host.tmpfs.reset();
  }
  CHECK(place.open().metrics().live_dir == place.own());
  CHECK(place.has_live_in_store());
  CHECK(place.directories().empty());
}

TEST_CASE("a tmpfs that this user must not write to is not chosen") {
  const Place place;
  std::filesystem::create_directory(place.path);
  CHECK(::chmod(place.dir.path().c_str(), 0755) == 0);
  CHECK(::chmod(place.memory.path().c_str(), 0755) == 0);
  if (::geteuid() == 0) CHECK(::chown(place.path.c_str(), kNobody, kNobody) == 0);
  as_nobody([&] {
    const Store store = place.open();
    expect(store.metrics().live_dir == place.own(), "it stays in the store");
    return store.scope("orders").mark("a") == Verdict::fresh ? 0 : 1;
  });
}

TEST_CASE("a store in memory stays where it is") {
  Place place;
  const TempDir memory(memory_directory());
  place.path = memory / "store";
  CHECK(place.open().metrics().live_dir == place.own());
  CHECK(place.directories().empty());
}

TEST_CASE("an option overrides the choice and is followed in its turn, the store's own directory like any other") {
  Place place;
  { CHECK(place.open().scope("orders").mark("a") == Verdict::fresh); }
  REQUIRE(place.directories().size() == 1);
  Options told{.expected_ids = 1};
  SUBCASE("the store's own directory") {
    told.live_dir = place.path;
  }
  SUBCASE("by another name") {
    told.live_dir = place.path / ".." / "store";
  }
  SUBCASE("another directory") {
    told.live_dir = place.dir / "elsewhere";
  }
  std::filesystem::path there;
  {
    const Store store = place.open(told);
    there = store.metrics().live_dir;
    CHECK_FALSE(store.metrics().live_dir_chosen);
    CHECK(store.scope("orders").contains("a"));
    CHECK(place.directories().empty());  // Nothing is left there.
    CHECK(there.native().starts_with(std::filesystem::canonical(place.dir.path()).native()));
    CHECK(error_code_of([&] { place.open({.live_dir = place.memory.path()}); }) == ErrorCode::live_dir_mismatch);
  }
  const auto expect_followed = [&] {
    const Store store = place.open();
    CHECK(store.metrics().live_dir == there);
    CHECK_FALSE(store.metrics().live_dir_chosen);
    CHECK(store.scope("orders").contains("a"));
  };
  expect_followed();
  place.host.host.reboot();
  expect_followed();
  CHECK(place.directories().empty());
}

TEST_CASE("what an option gave is chosen again when it is not there any more, as on another host") {
  const Place place;
  std::filesystem::create_directory(place.dir / "mounted");
  { CHECK(place.open({.live_dir = place.dir / "mounted"}).scope("orders").mark("a") == Verdict::fresh); }
  std::filesystem::rename(place.dir / "mounted", place.dir / "away");
  const Store store = place.open();
  CHECK(store.metrics().live_dir_chosen);
  CHECK(place.directories().size() == 1);
  CHECK(store.scope("orders").contains("a"));
  CHECK_FALSE(std::filesystem::exists(place.dir / "mounted"));
}

TEST_CASE("a choice stands for this boot, and is made again after a reboot or when the files are gone") {
  Place place;
  const auto full = [&] { place.host.tmpfs->free_memory = 0; };
  const auto in_store = [&] {
    const Store store = place.open();
    CHECK(store.scope("orders").mark("a") == Verdict::duplicate);
    CHECK(store.metrics().live_dir_chosen);
    return store.metrics().live_dir == place.own();
  };
  SUBCASE("from the tmpfs to the store") {
    { CHECK(place.open().scope("orders").mark("a") == Verdict::fresh); }
    full();
    CHECK_FALSE(in_store());
    SUBCASE("a reboot") {
      place.host.host.reboot();
    }
    SUBCASE("they are gone, as after a logout or on another host") {
      std::filesystem::remove_all(place.directories().front());
    }
    CHECK(in_store());
    CHECK(place.directories().empty());
  }
  SUBCASE("from the store to the tmpfs") {
    full();
    { CHECK(place.open().scope("orders").mark("a") == Verdict::fresh); }
    place.host.tmpfs->free_memory = BootTmpfs::kNoLimit;
    CHECK(in_store());
    SUBCASE("a reboot") {
      place.host.host.reboot();
    }
    SUBCASE("they are gone") {
      remove_derived(place.path);
    }
    CHECK_FALSE(in_store());
    CHECK(derived_files(place.path).empty());
    CHECK(place.directories().size() == 1);
  }
}

TEST_CASE("a process that dies leaves its unflushed marks in the tmpfs, to whoever opens the store next") {
  Place place;
  die_with_mark(place, {.expected_ids = 1, .flush_interval = std::chrono::hours{1}});
  SUBCASE("there") {}
  SUBCASE("in the store's own directory") {
    CHECK(place.open({.live_dir = place.path}).scope("orders").contains("unflushed"));
    CHECK(place.directories().empty());
  }
  SUBCASE("although the tmpfs would not be chosen now") {
    place.host.tmpfs->free_memory = 0;
  }
  SUBCASE("although there is no tmpfs to choose now") {
    place.host.tmpfs.reset();
  }
  CHECK(place.open().scope("orders").contains("unflushed"));
}

TEST_CASE("a copy of a store has a directory of its own, and both go on") {
  const Place place;
  { CHECK(place.open().scope("orders").mark("both", Ack::disk) == Verdict::fresh); }
  copy_store(place.path, place.dir / "copy");
  const Store original = place.open();
  const Store copy = StoreAccess::open(place.dir / "copy", {.expected_ids = 1}, place.host);
  CHECK(copy.metrics().live_dir_chosen);
  CHECK(copy.metrics().live_dir != original.metrics().live_dir);
  CHECK(place.directories().size() == 2);
  CHECK(original.scope("orders").mark("original's") == Verdict::fresh);
  CHECK_FALSE(copy.scope("orders").contains("original's"));
  CHECK(copy.scope("orders").contains("both"));
}

TEST_CASE("a store that is moved while it is closed finds its shared memory again") {
  const Place place;
  die_with_mark(place, {.expected_ids = 1, .flush_interval = std::chrono::hours{1}});
  std::filesystem::rename(place.path, place.dir / "moved");
  // Another store looks for what is left over, and must not take this for it.
  { StoreAccess::open(place.dir / "other", {.expected_ids = 1}, place.host); }
  CHECK(StoreAccess::open(place.dir / "moved", {.expected_ids = 1}, place.host).scope("orders").contains("unflushed"));
  CHECK(place.directories().size() == 2);
}

TEST_CASE("what another user has put in the place of the directory is neither believed nor touched") {
  const Place place;
  const auto chosen = chosen_directory(place);
  std::filesystem::remove_all(chosen);
  const TempDir trap("/var/tmp");
  std::ofstream(trap / "live") << "mine";
  SUBCASE("a directory") {
    if (::geteuid() != 0) {
      MESSAGE("skipped: only root can make files of another user");
      return;
    }
    std::filesystem::create_directory(chosen);
    std::ofstream(chosen / "live") << "hostile";
    REQUIRE(::chown(chosen.c_str(), kNobody, kNobody) == 0);
  }
  SUBCASE("a symbolic link") {
    std::filesystem::create_directory_symlink(trap.path(), chosen);
  }
  SUBCASE("a file") {
    std::ofstream(chosen) << "no directory";
  }
  const auto before = std::filesystem::symlink_status(chosen).type();
  {
    const Store store = place.open();
    CHECK(store.metrics().live_dir == place.own());
    CHECK(store.scope("orders").mark("a") == Verdict::fresh);
  }
  // Where an option says that it is to be there, that is an error.
  CHECK(error_code_naming(chosen.string(), [&] { place.open({.live_dir = place.memory.path()}); }) ==
        ErrorCode::no_permission);
  CHECK(std::filesystem::symlink_status(chosen).type() == before);
  CHECK(std::filesystem::file_size(trap / "live") == 4);
}

TEST_CASE("its directory has the owner, the group and the rights of the store's own") {
  const Place place;
  std::filesystem::create_directory(place.path);
  const bool root = ::geteuid() == 0;
  if (root) REQUIRE(::chown(place.path.c_str(), kNobody, kNobody) == 0);
  REQUIRE(::chmod(place.path.c_str(), 02750) == 0);
  const std::filesystem::path chosen = place.open({.allow_foreign_owner = true, .expected_ids = 1}).metrics().live_dir;
  REQUIRE(place.directories().size() == 1);
  struct stat own {};
  struct stat elsewhere {};
  REQUIRE(::stat(place.path.c_str(), &own) == 0);
  REQUIRE(::stat(chosen.c_str(), &elsewhere) == 0);
  CHECK(elsewhere.st_mode == own.st_mode);
  CHECK(elsewhere.st_uid == own.st_uid);
  CHECK(elsewhere.st_gid == own.st_gid);
  // And so its owner can use what root has made.
  for (const auto& directory : {place.dir.path(), place.memory.path()}) REQUIRE(::chmod(directory.c_str(), 0755) == 0);
  if (root) as_nobody([&] { return place.open().scope("orders").mark("a") == Verdict::fresh ? 0 : 1; });
}

TEST_CASE("a directory that vanishes while the store is open lets nobody else in, and its closing loses nothing") {
  const Place place;
  {
    const Store store = place.open({.expected_ids = 1, .flush_interval = std::chrono::hours{1}});
    CHECK(store.scope("orders").mark("before") == Verdict::fresh);
    std::filesystem::remove_all(place.directories().front());
    CHECK(store.scope("orders").mark("after") == Verdict::fresh);
    CHECK(wait_for(spawn([&] { return error_code_of([&] { place.open(); }) == ErrorCode::in_use ? 0 : 1; })) == 0);
    CHECK(store.scope("orders").contains("before"));
  }
  const Scope scope = place.open().scope("orders");
  CHECK(scope.contains("before"));
  CHECK(scope.contains("after"));
}

TEST_CASE("the directory of a deleted store is deleted by the next store that is made") {
  Place place;
  place.path = place.dir / "a" / "store";
  { place.open().scope("orders").mark("a"); }
  const auto left = place.directories().front();
  std::filesystem::path other = place.dir / "other";
  SUBCASE("gone altogether") {
    std::filesystem::remove_all(place.path);
  }
  SUBCASE("made again") {
    std::filesystem::remove_all(place.path);
    other = place.path;
  }
  SUBCASE("with the directory that it was in") {
    std::filesystem::remove_all(place.path.parent_path());
  }
  { StoreAccess::open(other, {.expected_ids = 1}, place.host); }
  REQUIRE(place.directories().size() == 1);
  CHECK(place.directories().front() != left);
}

TEST_CASE("a directory stays that may be of use to somebody") {
  Place place;
  std::filesystem::path at;
  // Opens another store, which looks for what is left over.
  const auto expect_stays = [&] {
    { StoreAccess::open(place.dir / "other", {.expected_ids = 1}, place.host); }
    CHECK(std::filesystem::exists(at));
  };
  const auto make = [&] { at = chosen_directory(place); };
  SUBCASE("whose store is there") {
    make();
    expect_stays();
  }
  SUBCASE("whose store is in use, under another name") {
    make();
    const Store store = place.open();
    std::filesystem::rename(place.path, place.dir / "renamed");
    expect_stays();
  }
  SUBCASE("that holds unflushed marks") {
    make();
    die_with_mark(place, {.expected_ids = 1, .flush_interval = std::chrono::hours{1}});
    std::filesystem::remove_all(place.path);
    expect_stays();
    CHECK(std::filesystem::exists(at / "live"));
  }
  SUBCASE("that holds a claim") {
    make();
    CHECK(wait_for(spawn([&]() -> int {
            const Store store = place.open();
            const Claim claim =
                store.scope("orders", {.orphans = OrphanPolicy::keep}).begin("a", std::chrono::hours{1});
            store.sync();
            ::_exit(claim ? 0 : 1);
          })) == 0);
    std::filesystem::remove_all(place.path);
    expect_stays();
    CHECK(std::filesystem::exists(at / "live"));
  }
  SUBCASE("whose store lies in a directory that is not mounted") {
    std::filesystem::create_directories(place.dir / "mount");
    place.path = place.dir / "mount" / "store";
    make();
    std::filesystem::rename(place.dir / "mount", place.dir / "unmounted");
    std::filesystem::create_directory(place.dir / "mount");
    expect_stays();
  }
  SUBCASE("whose note was written by a process that sees other mounts") {
    make();
    std::ifstream file(at / "store");
    std::string text{std::istreambuf_iterator<char>(file), {}};
    REQUIRE(text.starts_with("mnt:["));
    text[5] = text[5] == '1' ? '2' : '1';
    std::ofstream(at / "store") << text;
    std::filesystem::remove_all(place.path);
    expect_stays();
  }
  SUBCASE("without a whole note") {
    make();
    std::filesystem::resize_file(at / "store", std::filesystem::file_size(at / "store") - 1);
    std::filesystem::remove_all(place.path);
    expect_stays();
  }
}

TEST_CASE("what is not the store's own stays in a directory that is left over") {
  const Place place;
  const auto left = chosen_directory(place);
  std::ofstream(left / "notes.txt") << "mine";
  std::filesystem::remove_all(place.path);
  { StoreAccess::open(place.dir / "other", {.expected_ids = 1}, place.host); }
  CHECK(std::filesystem::exists(left / "notes.txt"));
  CHECK_FALSE(std::filesystem::exists(left / "live"));
}

TEST_CASE("the host's tmpfs is found where it is the one of process 1") {
  struct stat own {};
  REQUIRE(::stat("/proc/self/ns/pid", &own) == 0);
  const auto found = internal::find_boot_tmpfs(0);
  if (own.st_ino != 0xEFFFFFFC) {
    CHECK_FALSE(found);
    return;
  }
  if (!found) {
    MESSAGE("skipped: this host has no tmpfs at /dev/shm");
    return;
  }
  CHECK(found->directory == "/dev/shm");
  CHECK(found->free_memory > 0);
  // Another one in its place ends before the host does.
  CHECK(wait_for(spawn([] {
          if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
              ::mount("tmpfs", "/dev/shm", "tmpfs", 0, nullptr) != 0) {
            return 0;  // Not permitted here.
          }
          return internal::find_boot_tmpfs(0) ? 1 : 0;
        })) == 0);
  const bool systemd = std::filesystem::exists("/run/systemd/users");
  CHECK(internal::find_boot_tmpfs(999).has_value());
  CHECK(internal::find_boot_tmpfs(1000).has_value() == !systemd);
}

TEST_CASE("a process that does not see the shared memory of this boot refuses, unless it is told to go on without") {
  Place place;
  const std::filesystem::path chosen = chosen_directory(place);
  // A container, say: the same boot, another /dev/shm.
  place.host.tmpfs.reset();
  const std::filesystem::path hidden = place.memory / "hidden";
  std::filesystem::rename(chosen, hidden);
  CHECK(error_code_of([&] { place.open(); }) == ErrorCode::in_use);
  SUBCASE("seen again") {
    std::filesystem::rename(hidden, chosen);
    CHECK(place.open().metrics().live_dir == chosen);
  }
  SUBCASE("told") {
    CHECK(place.open({.live_dir = place.path, .expected_ids = 1}).metrics().live_dir == place.own());
  }
  SUBCASE("after a reboot") {
    place.host.host.reboot();
    CHECK(place.open().metrics().live_dir == place.own());
  }
}
