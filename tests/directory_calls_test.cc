#include <sys/stat.h>

#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <oncelog/backup.h>

#include "intercept.h"
#include "support.h"

// What a store's directory is to the system: which file systems are refused, and which names are on disk.

using namespace oncelog;
using namespace oncelog::testing;
namespace fs = std::filesystem;

namespace {

const Options kOptions{.expected_ids = 1000, .ring_bytes = std::uint64_t{1} << 20, .map_bytes = std::uint64_t{1} << 30};

/// Installs itself for as long as it lives.
class Installed : public Interceptor {
 public:
  Installed() { intercept(this); }
  ~Installed() override { intercept(nullptr); }
  int before(const Intercepted&) override { return 0; }
};

/// Says that every directory is on a file system of this type.
class FileSystem final : public Installed {
 public:
  explicit FileSystem(std::uint32_t type) : type_(type) {}
  int after(const Intercepted& call, long result) override {
    if (call.call == SystemCall::statfs && result == 0) call.answer->f_type = type_;
    return 0;
  }

 private:
  const std::uint32_t type_;
};

/// Which names were in a directory when it was synced.
class SyncedNames final : public Installed {
 public:
  int after(const Intercepted& call, long result) override {
    struct stat status {};
    if (call.call != SystemCall::fsync || result != 0 || ::fstat(call.fd, &status) != 0) return 0;
    if (!S_ISDIR(status.st_mode)) return 0;
    const fs::path directory = fs::read_symlink("/proc/self/fd/" + std::to_string(call.fd));
    const std::lock_guard guard(mutex_);
    for (const auto& entry : fs::directory_iterator(directory)) synced_.insert(entry.path());
    return 0;
  }

  bool contains(const fs::path& path) {
    const std::lock_guard guard(mutex_);
    return synced_.contains(path);
  }

 private:
  std::mutex mutex_;
  std::set<fs::path> synced_;
};

}  // namespace

TEST_CASE("a network file system, and FUSE, behind which one may be, is refused with its way out, which works") {
  const std::pair<std::string, std::uint32_t> types[] = {
      {"NFS", 0x6969},      {"SMB", 0x517B},    {"CIFS", 0xFF534D42},   {"SMB2", 0xFE534D42}, {"AFS", 0x5346414F},
      {"Ceph", 0x00C36400}, {"9p", 0x01021997}, {"Lustre", 0x0BD00BD0}, {"GPFS", 0x47504653}, {"FUSE", 0x65735546}};
  for (const auto& type : types) {
    CAPTURE(type.first);
    const TempDir dir;
    const FileSystem elsewhere(type.second);
    CHECK(error_code_of([&] { Store::open(dir / "store", kOptions); }) == ErrorCode::unsupported);
    const std::string sentence = error_text_of([&] { Store::open(dir / "store", kOptions); });
    CHECK(sentence == (dir / "store").string() +
                          ": is on a network file system (or on FUSE, behind which may be one), where a store's "
                          "promises cannot be kept; use a local one, or insist with allow_network_filesystem");
    CHECK_FALSE(fs::exists(dir / "store/data.mdb"));
    Options insisting = kOptions;
    insisting.allow_network_filesystem = true;
    {
      const auto store = Store::open(dir / "store", insisting);
      CHECK(store.scope("s").mark("id", Ack::disk) == Verdict::fresh);
      store.backup(dir / "backup");
    }
    // What was made with the option needs it again; but a backup may lie anywhere.
    CHECK(error_code_of([&] { Store::open(dir / "store", kOptions); }) == ErrorCode::unsupported);
    CHECK(restore(dir / "backup", dir / "restored").bytes > 0);
  }
}

TEST_CASE("local file systems are not refused") {
  const std::pair<std::string, std::uint32_t> types[] = {{"ext4", 0xEF53},      {"XFS", 0x58465342},
                                                         {"btrfs", 0x9123683E}, {"tmpfs", 0x01021994},
                                                         {"F2FS", 0xF2F52010},  {"overlayfs", 0x794C7630}};
  for (const auto& type : types) {
    CAPTURE(type.first);
    const TempDir dir;
    const FileSystem here(type.second);
    CHECK(Store::open(dir / "store", kOptions).scope("s").mark("id") == Verdict::fresh);
  }
}

TEST_CASE("the names of all directories that are made for a store are on disk, up to the one that was there") {
  const TempDir dir;
  const fs::path was_there = fs::canonical(dir.path());
  std::string given = (dir / "a/b/c/d").string();
  SUBCASE("of an absolute path") {}
  SUBCASE("of a path that ends in a slash") {
    given += '/';
  }
  SUBCASE("of a path with a . in it") {
    given = (dir / "a/./b/c/./d").string();
  }
  SyncedNames names;
  const auto store = Store::open(given, kOptions);
  for (const std::string& made : std::vector<std::string>{"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/data.mdb"}) {
    CAPTURE(made);
    CHECK(names.contains(was_there / made));
  }
}

TEST_CASE("the names of all directories that are made for a backup are on disk, up to the one that was there") {
  const TempDir dir;
  const fs::path was_there = fs::canonical(dir.path());
  const auto store = Store::open(dir / "store", kOptions);
  store.scope("s").mark("id");
  SyncedNames names;
  store.backup(dir / "a/b/c");
  for (const std::string& made : std::vector<std::string>{"a", "a/b", "a/b/c"}) {
    CAPTURE(made);
    CHECK(names.contains(was_there / made));
  }
}
