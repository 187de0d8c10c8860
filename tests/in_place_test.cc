#include "base/in_place.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/descriptors.h"
#include "shared.h"
#include "support.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr int kNotPermitted = 77;

/// Runs `body` on a small file system of its own, in a child with mounts of its own; says why when that is not
/// possible.
void on_filesystem(const std::string& kind, const std::string& size,
                   const std::function<void(const std::filesystem::path&)>& body) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "disk");
  const std::string image = (dir / "image").string();
  const std::string disk = (dir / "disk").string();
  const std::string make = "truncate -s " + size + " " + image + " && PATH=$PATH:/usr/sbin:/sbin mkfs." + kind +
                           " -q " + image + " && mount -o loop " + image + " " + disk;
  const int end = wait_for(spawn([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        std::system(("(" + make + ") >/dev/null 2>&1").c_str()) != 0) {
      return kNotPermitted;
    }
    // In a child: the file system must not be in use when it is unmounted.
    const int worked = wait_for(spawn([&] {
      body(disk);
      return 0;
    }));
    ::umount2(disk.c_str(), MNT_DETACH);
    return worked;
  }));
  if (end == kNotPermitted) {
    MESSAGE("skipped: this takes root, a loop device, and mkfs." << kind);
    return;
  }
  CHECK(end == 0);
}

/// Writes until there is no room for another byte.
void fill_up(const std::filesystem::path& disk) {
  struct statfs status {};
  expect(::statfs(disk.c_str(), &status) == 0, "it is there");
  expect(
      static_cast<std::uint64_t>(status.f_blocks) * static_cast<std::uint64_t>(status.f_bsize) < std::uint64_t{1} << 30,
      "it is the small one");
  const Descriptor filler = open_descriptor(disk / "filler", O_CREAT | O_WRONLY, 0600);
  const std::vector<char> bytes(1 << 20, 'x');
  // Twice: writing back finds a little more.
  for (int round = 0; round < 2; ++round) {
    for (const std::size_t size : {std::size_t{1} << 20, std::size_t{4096}, std::size_t{1}}) {
      while (::write(filler.get(), bytes.data(), size) > 0) {
      }
    }
    ::fsync(filler.get());
  }
}

/// On a full disk new threads look things up, and marks are accepted or refused: nothing ends the process.
void use_store_on_full_disk(const std::filesystem::path& disk) {
  constexpr int kIds = 20'000;
  constexpr int kThreads = 100;
  const Store store = Store::open(disk / "store", {.expected_ids = 100'000, .ring_bytes = 1 << 20});
  const Scope scope = store.scope("s");
  for (int i = 0; i < kIds; ++i) scope.mark(std::to_string(i));
  store.sync();
  ::sync();  // The kernel has written everything back, and would write it elsewhere.
  fill_up(disk);
  std::atomic<int> known{0};
  std::atomic<int> looked{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      known += scope.contains(std::to_string(t)) ? 1 : 0;
      ++looked;
      wait_until([&] { return looked.load() == kThreads; });  // So that each has a reader slot of its own.
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect(known.load() == kThreads, "every thread finds its id");
  bool full = false;
  for (int i = kIds; !full && i < 100 * kIds; ++i) {
    try {
      scope.mark(std::to_string(i));
    } catch (const Error& error) {
      full = error.code() == ErrorCode::full;
      expect(full, error.what());
    }
  }
  expect(full, "a mark is refused at last");
  for (int i = 0; i < kIds; ++i) expect(scope.contains(std::to_string(i)), "checks go on");
}

}  // namespace

TEST_CASE("a full ext4 refuses marks, and checks of old and new threads go on") {
  on_filesystem("ext4", "64M", use_store_on_full_disk);
}

TEST_CASE("a full btrfs refuses marks, and checks of old and new threads go on") {
  on_filesystem("btrfs", "160M", use_store_on_full_disk);
}

TEST_CASE("a file on btrfs is written in place when it is asked for while it is empty") {
  on_filesystem("btrfs", "160M", [](const std::filesystem::path& disk) {
    const Descriptor empty = open_descriptor(disk / "empty", O_RDWR | O_CREAT, 0600);
    expect(request_in_place(empty.get(), disk / "empty") == WritesInPlace::yes, "an empty one is");
    const Descriptor used = open_descriptor(disk / "used", O_RDWR | O_CREAT, 0600);
    expect(::write(used.get(), "x", 1) == 1, "it has a byte");
    expect(request_in_place(used.get(), disk / "used") == WritesInPlace::not_now, "a used one is not");
    expect(error_code_of([&] { require_in_place(used.get(), disk / "used"); }) == ErrorCode::unsupported,
           "which is an error where it is needed");
  });
}

TEST_CASE("a lock.mdb on btrfs that an earlier version has made is made again for writing in place") {
  on_filesystem("btrfs", "160M", [](const std::filesystem::path& disk) {
    std::filesystem::create_directory(disk / "store");
    std::ofstream(disk / "store" / "lock.mdb") << std::string(10'000, '\0');
    { const Store store = Store::open(disk / "store", {.expected_ids = 1}); }
    const Descriptor file = open_descriptor(disk / "store" / "lock.mdb", O_RDWR);
    expect(request_in_place(file.get(), disk / "store" / "lock.mdb") == WritesInPlace::yes, "it is written in place");
  });
}

TEST_CASE("on other file systems files are written in place as they are") {
  const TempDir dir;
  if (struct statfs status{}; ::statfs(dir.path().c_str(), &status) != 0 || status.f_type == 0x9123683E) return;
  const Descriptor file = open_descriptor(dir / "file", O_RDWR | O_CREAT, 0600);
  CHECK(request_in_place(file.get(), dir / "file") == WritesInPlace::yes);
}
