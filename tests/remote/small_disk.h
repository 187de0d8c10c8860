#pragma once

#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "support.h"

namespace oncelog::testing {

/// A small file system, where this user may mount one.
class SmallDisk {
 public:
  /// `size` is mount's: 512k, 4m.
  explicit SmallDisk(const std::string& size = "512k")
      : mounted_(::mount("none", directory_.path().c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0) {}
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }

  bool mounted() const { return mounted_; }
  std::string path() const { return directory_.path(); }
  std::filesystem::path operator/(const std::string& name) const { return directory_ / name; }

 private:
  TempDir directory_;
  bool mounted_;
};

}  // namespace oncelog::testing
