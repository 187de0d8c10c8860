#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <system_error>

namespace oncelog::bench {
namespace {

template <typename Visit>
void visit_files(const std::filesystem::path& directory, Visit visit) {
  std::error_code gone;  // A server may remove files meanwhile.
  const auto options = std::filesystem::directory_options::skip_permission_denied;
  std::filesystem::recursive_directory_iterator it(directory, options, gone);
  for (; !gone && it != std::filesystem::recursive_directory_iterator(); it.increment(gone)) {
    struct stat status {};
    if (::lstat(it->path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) visit(it->path(), status);
  }
}

}  // namespace

std::uint64_t disk_bytes(const std::filesystem::path& directory) {
  std::uint64_t bytes = 0;
  visit_files(directory, [&](const auto&, const struct stat& status) {
    bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  });
  return bytes;
}

void drop_cached(const std::filesystem::path& directory) {
  visit_files(directory, [](const std::filesystem::path& file, const struct stat&) {
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ::fsync(fd);  // What stays in memory makes the next opening faster, never wrong.
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  });
}

}  // namespace oncelog::bench
