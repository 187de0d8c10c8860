#include "lmdb/data_file_mending.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "base/error.h"
#include "lmdb/page_format.h"
#include "lmdb/pages.h"

namespace oncelog::internal::lmdb {

void put_back_meta(int file, std::uint64_t committed, std::size_t page_bytes, const std::filesystem::path& path) {
  // From the map's size on it is what a commit writes: that, two trees, the last page, and the transaction.
  constexpr std::size_t kCommitBegin = Pages::kHeaderBytes + offsetof(StoredMeta, map_bytes);
  constexpr std::size_t kTransaction = Pages::kHeaderBytes + offsetof(StoredMeta, transaction);
  constexpr std::size_t kCommitEnd = Pages::kHeaderBytes + sizeof(StoredMeta);
  static_assert(kTransaction + sizeof(StoredMeta::transaction) == kCommitEnd);
  const auto at = static_cast<off_t>(((committed + 1) & 1) * page_bytes);
  std::array<std::byte, kCommitEnd> page;
  if (::pread(file, page.data(), page.size(), at) != static_cast<ssize_t>(page.size())) {
    throw system_error(EIO, "reading a meta page of data.mdb", path);
  }
  std::uint64_t transaction = 0;
  std::memcpy(&transaction, page.data() + kTransaction, sizeof transaction);
  if (transaction > committed) {
    transaction = committed == 0 ? 0 : committed - 1;
    std::memcpy(page.data() + kTransaction, &transaction, sizeof transaction);
  }
  const std::size_t bytes = kCommitEnd - kCommitBegin;
  const ssize_t written = ::pwrite(file, page.data() + kCommitBegin, bytes, at + static_cast<off_t>(kCommitBegin));
  if (written != static_cast<ssize_t>(bytes) || ::fdatasync(file) != 0) {
    throw system_error(written >= 0 && written != static_cast<ssize_t>(bytes) ? ENOSPC : errno,
                       "mending data.mdb after a write that failed", path);
  }
}

bool complete_file(int file, std::uint64_t used, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file, &status) != 0) throw system_error(errno, "fstat", path);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size >= used) return false;
  const Pages pages(file, path);
  const auto meta = pages.newest();
  if (!meta || !pages.lacks_only_free_pages(*meta)) {
    throw error_at(ErrorCode::corrupt, path,
                   "data.mdb is cut short: {} of {} bytes are there, and what is missing is in use; restore "
                   "it from a backup",
                   size, used);
  }
  if (::ftruncate(file, static_cast<off_t>(used)) != 0) throw system_error(errno, "extending data.mdb", path);
  return true;
}

}  // namespace oncelog::internal::lmdb
