#include "shared/directory.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#include <cstdlib>
#include <string>

#include "support.h"

using namespace oncelog;
using namespace oncelog::testing;
using namespace std::chrono_literals;

namespace {

constexpr int kNotPermitted = 77;

/// Runs `body` in a child with mounts of its own, which end with it.
void with_own_mounts(const std::function<int()>& body) {
  const int end = wait_for(spawn([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return kNotPermitted;
    }
    return body();
  }));
  if (end == kNotPermitted) {
    MESSAGE("skipped: this takes root, loop devices, and mkfs.xfs");
    return;
  }
  CHECK(end == 0);
}

bool run(const std::string& commands) {
  return std::system(("PATH=$PATH:/usr/sbin:/sbin; set -e; (" + commands + ") >/dev/null 2>&1").c_str()) == 0;
}

}  // namespace

TEST_CASE("a store may be what is mounted on a file system whose directories cannot be synced") {
  with_own_mounts([] {
    const std::filesystem::path mounted = "/sys/kernel";
    if (::mount("tmpfs", mounted.c_str(), "tmpfs", 0, "size=200m") != 0) return kNotPermitted;
    const Store store = Store::open(mounted, {.expected_ids = 1});
    return store.scope("s").mark("a", Ack::disk) == Verdict::fresh ? 0 : 1;
  });
}

TEST_CASE("marks outlive their process although their file system is mounted again as another device") {
  const TempDir dir;
  const std::string image = (dir / "image").string();
  const std::string other = (dir / "other").string();
  const std::filesystem::path disk = dir / "disk";
  std::filesystem::create_directory(disk);
  with_own_mounts([&] {
    if (!run("truncate -s 400M " + image + "; mkfs.xfs -q " + image + "; mount -o loop " + image + " " + disk.string()))
      return kNotPermitted;
    const Options options{.expected_ids = 1, .flush_interval = 1h, .ring_bytes = 64 << 10};
    const int killed = wait_for(spawn([&] {
      const Store store = Store::open(disk / "store", options);
      store.scope("s").mark("a");
      ::raise(SIGKILL);
      return 0;
    }));
    if (killed != -SIGKILL) return 1;
    // The device that it was is another one's now.
    if (!run("umount " + disk.string() + "; truncate -s 1M " + other + "; losetup -f " + other + "; mount -o loop " +
             image + " " + disk.string())) {
      return 2;
    }
    const int known =
        wait_for(spawn([&] { return Store::open(disk / "store", options).scope("s").contains("a") ? 0 : 3; }));
    run("umount " + disk.string() + "; losetup -d $(losetup -n -O NAME -j " + other + ")");
    return known;
  });
}
