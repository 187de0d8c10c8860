#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include <oncelog/backup.h>
#include <oncelog/repair.h>

#include "shared.h"
#include "store_files.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr int kNotPermitted = 77;

std::string id_of(int number) {
  return "message-" + std::to_string(number) + std::string(300, '.');
}

void write_text(const char* path, const std::string& text) {
  std::ofstream(path) << text;
}

/// Gives this process mounts of its own; false where the system does not let it.
bool enter_mount_namespace() {
  const auto user = ::geteuid();
  const auto group = ::getegid();
  if (::unshare(CLONE_NEWNS) != 0) {
    if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    write_text("/proc/self/setgroups", "deny");
    write_text("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
    write_text("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
  }
  return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool mount_tmpfs(const std::filesystem::path& at, std::size_t bytes) {
  std::filesystem::create_directories(at);
  return ::mount("tmpfs", at.c_str(), "tmpfs", 0, ("size=" + std::to_string(bytes)).c_str()) == 0;
}

void grow(const std::filesystem::path& disk) {
  expect(::mount(nullptr, disk.c_str(), nullptr, MS_REMOUNT, "size=64m") == 0, "the disk grows");
}

/// Runs `body` in a child with mounts of its own. Its checks are expect().
void in_mount_namespace(const std::function<int()>& body) {
  const int end = wait_for(spawn([&] { return enter_mount_namespace() ? body() : kNotPermitted; }));
  if (end == kNotPermitted) {
    MESSAGE("skipped: this system does not permit a mount namespace");
    return;
  }
  CHECK(end == 0);
}

/// What `call` fails with; nothing when it does not.
std::optional<ErrorCode> failure_of(const std::function<void()>& call) {
  try {
    call();
    return std::nullopt;
  } catch (const Error& error) {
    expect(std::string_view(error.what()).size() > 20, "an Error has a sentence");
    return error.code();
  }
}

void expect_full(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    expect(error.code() == ErrorCode::full,
           std::string("it fails as full: ") + std::string(to_string(error.code())) + ": " + error.what());
    return;
  }
  expect(false, "it fails");
}

/// Marks until it fails, which must be as full; returns how many ids were accepted.
int mark_until_full(const Scope& scope, int first, int limit) {
  int id = first;
  expect_full([&] {
    for (; id < limit; ++id) scope.mark(id_of(id));
  });
  return id;
}

/// All of these are duplicates, and nothing else is known.
void expect_known(const Scope& scope, int end) {
  for (int id = 0; id < end; ++id)
    expect(scope.contains(id_of(id)), "id " + std::to_string(id) + " of " + std::to_string(end) + " is known");
  expect(!scope.contains("never marked"), "an id never marked is fresh");
}

/// `call` fails as full, or does not fail.
void expect_full_or_done(const std::function<void()>& call) {
  expect(failure_of(call).value_or(ErrorCode::full) == ErrorCode::full, "it fails as full, if it fails");
}

/// What finds no room: data.mdb, or whichever file is the first to want some.
enum class Fills { data, any };

/// The marks fail while there is no room, everything accepted is answered meanwhile, and all goes on when `make_room`
/// has run.
void fill_and_recover(const std::filesystem::path& path, const Options& options, Fills fills,
                      const std::function<void()>& make_room) {
  int accepted = 0;
  {
    const Store store = Store::open(path, options);
    const Scope scope = store.scope("orders");
    accepted = mark_until_full(scope, 0, 1'000'000);
    expect(accepted > 100, "some ids were accepted before");
    expect_known(scope, accepted);
    const auto expect_refused = fills == Fills::data ? expect_full : expect_full_or_done;
    expect_refused([&] { store.sync(); });
    expect_refused([&] { scope.mark("one more", Ack::disk); });
    expect(scope.mark(id_of(0)) == Verdict::duplicate, "a duplicate needs no room");
    if (fills == Fills::data) expect(!store.metrics().last_error.empty(), "the metrics say why");
    make_room();
    expect(holds_soon([&] { return !failure_of([&] { scope.mark("another"); }); }), "marks go on");
    store.sync();
    expect_known(scope, accepted);
    for (int id = accepted; id < accepted + 500; ++id) scope.mark(id_of(id));
    accepted += 500;
    store.sync();
  }
  remove_derived(options.live_dir.empty()
                     ? path
                     : options.live_dir / std::filesystem::directory_iterator(options.live_dir)->path().filename());
  expect_known(Store::open(path, options).scope("orders"), accepted);
}

}  // namespace

TEST_CASE("a disk that is full at creation is an error, and the store can be created once there is room") {
  const TempDir dir;
  in_mount_namespace([&] {
    const auto disk = dir / "disk";
    if (!mount_tmpfs(disk, 1 << 20)) return kNotPermitted;
    const auto path = disk / "store";
    expect_full([&] { Store::open(path, {}); });
    expect_full([&] { Store::open(path, {}); });
    grow(disk);
    const Scope scope = Store::open(path, {}).scope("orders");
    expect(scope.mark("a") == Verdict::fresh, "the store works");
    return 0;
  });
}

TEST_CASE("a disk that is full to the last page at creation is an error, whatever little is left") {
  const TempDir dir;
  in_mount_namespace([&] {
    std::size_t pages = 1;
    for (bool created = false; !created; ++pages) {
      const auto disk = dir / ("disk-" + std::to_string(pages));
      if (!mount_tmpfs(disk, pages * 4096)) return kNotPermitted;
      const auto failure = failure_of(
          [&] { Store::open(disk / "store", {.expected_ids = 1, .ring_bytes = 64 << 10, .max_claims = 1}); });
      created = !failure;
      expect(created || failure == ErrorCode::full, "there is room for it, or it fails as full");
      grow(disk);
      expect(Store::open(disk / "store", {.expected_ids = 1, .ring_bytes = 64 << 10, .max_claims = 1})
                     .scope("orders")
                     .mark("a") == Verdict::fresh,
             "it works then");
      ::umount2(disk.c_str(), MNT_DETACH);
    }
    expect(pages > 30, "there was not always room");
    return 0;
  });
}

TEST_CASE(
    "a disk that fills up under data.mdb makes marks fail as full, loses nothing, and marks go on when there is room") {
  const TempDir dir;
  in_mount_namespace([&] {
    const auto disk = dir / "disk";
    const auto memory = dir / "memory";
    if (!mount_tmpfs(disk, 3 << 20) || !mount_tmpfs(memory, 64 << 20)) return kNotPermitted;
    fill_and_recover(disk / "store",
                     {.live_dir = memory, .expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 256 << 10},
                     Fills::data, [&] { grow(disk); });
    return 0;
  });
}

TEST_CASE(
    "a copy that finds no room for itself fails as full, leaves nothing, and comes out whole once there is room") {
  const TempDir dir;
  constexpr int kIds = 3000;  // Of more than 300 bytes: 1 MiB.
  {
    const Store store = Store::open(dir / "store", {});
    const Scope scope = store.scope("orders");
    for (int i = 0; i < kIds; ++i) scope.mark(id_of(i));
    store.backup(dir / "backup");
  }
  const std::map<std::string, std::function<void(const std::filesystem::path&)>> copies = {
      {"backup", [&](const auto& to) { Store::open(dir / "store", {}).backup(to); }},
      {"restore", [&](const auto& to) { restore(dir / "backup", to); }},
      {"repair", [&](const auto& to) { repair(dir / "store", to); }}};
  in_mount_namespace([&] {
    for (const auto& copy : copies) {
      const auto disk = dir / ("disk-" + copy.first);
      for (const std::size_t kib : {4U, 32U, 256U, 900U}) {
        if (!mount_tmpfs(disk, kib << 10)) return kNotPermitted;
        expect_full([&] { copy.second(disk / "copy"); });
        expect(std::filesystem::is_empty(disk), "nothing is left behind");
        grow(disk);
        copy.second(disk / "copy");
        const Scope scope = Store::open(disk / "copy", {}).scope("orders");
        for (int i = 0; i < kIds; ++i) expect(scope.contains(id_of(i)), "the copy has every id");
        ::umount2(disk.c_str(), MNT_DETACH);
      }
    }
    return 0;
  });
}

TEST_CASE("a disk that another's file fills makes marks fail as full, and marks go on when that file is gone") {
  const TempDir dir;
  in_mount_namespace([&] {
    const auto disk = dir / "disk";
    if (!mount_tmpfs(disk, 8 << 20)) return kNotPermitted;
    {
      std::ofstream hog(disk / "hog");
      hog << std::string(5 << 20, 'x');
    }
    // Everything on one disk: which of the files finds no room first is left to chance.
    fill_and_recover(disk / "store",
                     {.expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 256 << 10, .max_claims = 1}, Fills::any,
                     [&] { std::filesystem::remove(disk / "hog"); });
    return 0;
  });
}

TEST_CASE("a full ext4, which cuts a write of many pages short and has room for one more, makes marks fail as full") {
  const TempDir dir;
  in_mount_namespace([&] {
    const auto image = dir / "image";
    const auto disk = dir / "disk";
    const auto memory = dir / "memory";
    if (::geteuid() != 0 || !mount_tmpfs(memory, 64 << 20)) return kNotPermitted;
    std::filesystem::create_directories(disk);
    std::ofstream{image};
    std::filesystem::resize_file(image, 32 << 20);
    const std::string make = "PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F '" + image.string() + "'";
    const std::string mount = "mount -o loop '" + image.string() + "' '" + disk.string() + "'";
    if (std::system((make + " 2> /dev/null && " + mount + " 2> /dev/null").c_str()) != 0) return kNotPermitted;
    std::ofstream(disk / "hog") << std::string(12 << 20, 'x');
    fill_and_recover(disk / "store",
                     {.live_dir = memory, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 8 << 20}, Fills::data,
                     [&] { std::filesystem::remove(disk / "hog"); });
    ::umount2(disk.c_str(), MNT_DETACH);
    return 0;
  });
}

TEST_CASE("what is in the ring when a process closes on a full disk is flushed by the next one that finds room") {
  const TempDir dir;
  in_mount_namespace([&] {
    const auto disk = dir / "disk";
    const auto memory = dir / "memory";
    if (!mount_tmpfs(disk, 3 << 20) || !mount_tmpfs(memory, 64 << 20)) return kNotPermitted;
    const Options options{.live_dir = memory, .expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 256 << 10};
    const int accepted = mark_until_full(Store::open(disk / "store", options).scope("orders"), 0, 1'000'000);
    expect_known(Store::open(disk / "store", options).scope("orders"), accepted);
    grow(disk);
    const Store store = Store::open(disk / "store", options);
    expect_known(store.scope("orders"), accepted);
    store.sync();
    expect_known(store.scope("orders"), accepted);
    return 0;
  });
}

TEST_CASE("a limit on the size of files is a full disk") {
  const TempDir dir;
  const int end = wait_for(spawn([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const auto limit_files = [](rlim_t bytes) {
      const rlimit limit{bytes, RLIM_INFINITY};
      expect(::setrlimit(RLIMIT_FSIZE, &limit) == 0, "the limit is set");
    };
    std::filesystem::create_directory(dir / "memory");
    limit_files(100 << 10);
    expect_full([&] { Store::open(dir / "store", {.expected_ids = 1}); });
    for (const rlim_t odd : {0U, 4'096U, 12'345U}) {
      limit_files((3 << 20) + odd);
      fill_and_recover(dir / ("store-" + std::to_string(odd)),
                       {.expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 256 << 10, .max_claims = 1},
                       Fills::data, [&] { limit_files(RLIM_INFINITY); });
    }
    return 0;
  }));
  CHECK(end == 0);
}

TEST_CASE("a full map makes marks fail as full, and opening with a larger one recovers everything accepted") {
  const TempDir dir;
  Options options{.expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 64 << 10, .map_bytes = 1 << 20};
  const auto path = dir / "store";
  int accepted = 0;
  {
    const Store store = Store::open(path, options);
    const Scope scope = store.scope("orders");
    accepted = mark_until_full(scope, 0, 100'000);
    expect_known(scope, accepted);
    expect_full([&] { store.sync(); });
  }
  expect_known(Store::open(path, options).scope("orders"), accepted);
  options.map_bytes = 64 << 20;
  {
    const Store store = Store::open(path, options);
    const Scope scope = store.scope("orders");
    expect_known(scope, accepted);
    CHECK(scope.mark(id_of(accepted)) == Verdict::fresh);
    store.sync();
  }
  remove_derived(path);
  expect_known(Store::open(path, options).scope("orders"), accepted + 1);
}

TEST_CASE("expiry gives room back to marks that fail for a full map") {
  const TempDir dir;
  FakeHost host;
  const Store store = StoreAccess::open(
      dir / "store",
      {.retention = 1h, .expected_ids = 1, .flush_interval = 2ms, .ring_bytes = 64 << 10, .map_bytes = 1 << 20}, host);
  const Scope scope = store.scope("orders");
  CHECK(mark_until_full(scope, 0, 100'000) > 500);
  host.advance(2h);
  CHECK_FALSE(scope.contains(id_of(0)));
  CHECK(holds_soon([&] { return !failure_of([&] { scope.mark(id_of(0)); }); }));
  CHECK(mark_until_full(scope, 0, 100'000) > 500);
}

TEST_CASE("a read-only file system is an error when a store is opened or created on it") {
  const TempDir dir;
  in_mount_namespace([&] {
    const auto disk = dir / "disk";
    if (!mount_tmpfs(disk, 64 << 20)) return kNotPermitted;
    Store::open(disk / "store").scope("orders").mark("a");
    expect(::mount(nullptr, disk.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0, "the disk becomes read-only");
    expect(failure_of([&] { Store::open(disk / "store"); }) == ErrorCode::no_permission, "opening fails");
    expect(failure_of([&] { Store::open(disk / "store", {.read_only = true}); }) == ErrorCode::no_permission,
           "so does reading");
    expect(failure_of([&] { Store::open(disk / "another"); }) == ErrorCode::no_permission, "so does creating");
    expect(::mount(nullptr, disk.c_str(), nullptr, MS_REMOUNT, nullptr) == 0, "the disk becomes writable");
    expect(Store::open(disk / "store").scope("orders").contains("a"), "nothing is lost");
    return 0;
  });
}

TEST_CASE("a directory that this user may not write is an error") {
  const TempDir dir;
  Store::open(dir / "store").scope("orders").mark("a");
  std::filesystem::permissions(dir.path(), std::filesystem::perms::owner_all | std::filesystem::perms::others_read |
                                               std::filesystem::perms::others_exec);
  const int end = wait_for(spawn([&] {
    if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return kNotPermitted;
    for (const char* name : {"store", "new"}) ::chmod((dir / name).c_str(), 0555);
    if (::access(dir.path().c_str(), W_OK) == 0) ::chmod(dir.path().c_str(), 0555);
    expect(failure_of([&] { Store::open(dir / "new"); }) == ErrorCode::no_permission, "creating fails");
    expect(failure_of([&] { Store::open(dir / "store", {.allow_foreign_owner = true}); }) == ErrorCode::no_permission,
           "opening fails");
    return 0;
  }));
  std::filesystem::permissions(dir.path(), std::filesystem::perms::owner_all);
  std::filesystem::permissions(dir / "store", std::filesystem::perms::owner_all);
  if (end == kNotPermitted) {
    MESSAGE("skipped: this system does not let root become another user");
  } else {
    CHECK(end == 0);
  }
  CHECK(Store::open(dir / "store").scope("orders").contains("a"));
}

TEST_CASE(
    "a disk that fails below its file system is an error while it does, known ids are answered, and all goes on "
    "after") {
  const TempDir dir;
  in_mount_namespace([&] {
    // A thin disk: a file system of 200 MiB in a pool of 24.
    const auto pool = dir / "pool";
    const auto disk = dir / "disk";
    const auto memory = dir / "memory";
    if (::geteuid() != 0 || !mount_tmpfs(pool, 24 << 20) || !mount_tmpfs(memory, 64 << 20)) return kNotPermitted;
    const auto image = pool / "image";
    std::ofstream{image};
    std::filesystem::resize_file(image, 200 << 20);
    std::filesystem::create_directories(disk);
    const std::string make = "mkfs.ext4 -q -F -O ^has_journal -E lazy_itable_init=0,nodiscard '" + image.string() + "'";
    const std::string mount = "mount -o loop '" + image.string() + "' '" + disk.string() + "'";
    if (std::system((make + " 2> /dev/null && " + mount + " 2> /dev/null").c_str()) != 0) return kNotPermitted;
    const auto marked = [&](const Scope& scope, int begin, int end) {
      int id = begin;
      // The ring takes them all, unless the background flush has failed already.
      failure_of([&] {
        for (; id < end; ++id) scope.mark(id_of(id));
      });
      return id;
    };
    {
      const Store store = Store::open(
          disk / "store", {.live_dir = memory, .expected_ids = 1, .flush_interval = 1h, .ring_bytes = 16 << 20});
      const Scope scope = store.scope("orders");
      int accepted = marked(scope, 0, 2000);
      store.sync();
      {
        std::ofstream filler(pool / "filler");
        const std::string some(4096, 'x');
        while (filler << some << std::flush) {
        }
      }
      accepted = marked(scope, accepted, 12'000);
      expect(failure_of([&] { store.sync(); }).has_value(), "the disk fails");
      expect_known(scope, accepted);
      std::filesystem::remove(pool / "filler");
      expect(holds_soon([&] { return !failure_of([&] { store.sync(); }); }), "it goes on when the disk is well again");
      expect_known(scope, accepted);
      expect(scope.mark("later", Ack::disk) == Verdict::fresh, "and takes marks");
    }
    ::umount2(disk.c_str(), MNT_DETACH);
    return 0;
  });
}

TEST_CASE("root that is the first to look after a reboot does not lock the owner out of the shared memory") {
  if (::geteuid() != 0) {
    MESSAGE("skipped: only root may become another user");
    return;
  }
  const TempDir dir;
  const TempDir memory;
  const Options options{.live_dir = memory.path(), .expected_ids = 1};
  for (const auto& open_to_all : {dir.path(), memory.path()}) {
    std::filesystem::permissions(open_to_all, std::filesystem::perms::all | std::filesystem::perms::sticky_bit);
  }
  const auto as_owner = [&](const std::string& id) {
    return wait_for(spawn([&] {
      if (::setgid(65534) != 0 || ::setuid(65534) != 0) return kNotPermitted;
      const Scope scope = Store::open(dir / "store", options).scope("orders");
      expect(scope.mark(id) == Verdict::fresh, "the owner marks");
      return 0;
    }));
  };
  const int first = as_owner("a");
  if (first == kNotPermitted) {
    MESSAGE("skipped: this system does not let root become another user");
    return;
  }
  REQUIRE(first == 0);
  for (const auto& entry : std::filesystem::directory_iterator(memory.path())) {
    std::filesystem::remove_all(entry.path());  // As a reboot does.
  }
  Options looking = options;
  looking.read_only = true;
  looking.allow_foreign_owner = true;
  CHECK(wait_for(spawn([&] { return Store::open(dir / "store", looking).metrics().ids == 1 ? 0 : 1; })) == 0);
  CHECK(as_owner("b") == 0);
}
