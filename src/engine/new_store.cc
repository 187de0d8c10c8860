#include "engine/new_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <vector>

#include "base/descriptors.h"
#include "base/error.h"
#include "base/shared_memory.h"
#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "lmdb/user_tables.h"
#include "log/log.h"
#include "shared/directory.h"
#include "shared/settings.h"

namespace oncelog::internal {
namespace {

constexpr unsigned kTables = 8;
constexpr std::uint64_t kMapBytes = std::uint64_t{4} << 20;  // Some pages of any size.

std::filesystem::path random_name(const std::filesystem::path& directory) {
  std::uint64_t number = 0;
  fill_random(&number, sizeof number);
  return directory / fmt::format("{}{:016x}", kNewDataPrefix, number);
}

/// An empty file under a name of its own, which belongs to the directory's owner also when root makes it. Locked, so
/// that it is not taken for a dead creator's; the name is deleted at the end, when it is still there.
class UnfinishedFile {
 public:
  explicit UnfinishedFile(const std::filesystem::path& directory) {
    struct stat status {};
    // Another process may have taken it for left over before it was locked.
    while (status.st_nlink == 0) {
      path_ = random_name(directory);
      file_ = open_descriptor(path_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0660);
      if (!file_) throw system_error(errno, "creating it", path_);
      if (::flock(file_.get(), LOCK_EX) != 0) fail("flock");
      if (::fstat(file_.get(), &status) != 0) fail("fstat");
    }
    give_to_owner_of_directory(file_.get(), path_);
  }
  UnfinishedFile(const UnfinishedFile&) = delete;
  UnfinishedFile& operator=(const UnfinishedFile&) = delete;
  ~UnfinishedFile() { ::unlink(path_.c_str()); }
  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail(const char* call) const {
    const Error error = system_error(errno, call, path_);
    ::unlink(path_.c_str());
    throw error;
  }

  std::filesystem::path path_;
  Descriptor file_;
};

/// Fills the file; all of it is on disk when this returns.
void write_tables(const std::filesystem::path& path, const Options& options) {
  // Without LMDB's locks: nobody else knows the name.
  lmdb::Env env(path, MDB_NOSUBDIR | MDB_NOLOCK, kMapBytes, 1, kTables);
  lmdb::WriteTxn txn(env);
  const Catalog catalog(txn, MDB_CREATE);
  const Log log(txn, MDB_CREATE);
  const UserTables user_tables(txn, MDB_CREATE);
  catalog.put_identity(txn, new_identity(options.buckets, options.retention));
  Settings{}.with(options).put(txn, catalog, Settings{});
  // Nothing was elsewhere before, so that this is true already. Of a directory elsewhere it is noted once it is there.
  if (options.live_dir.empty()) {
    catalog.put_live_dir(txn, {.directory = std::string(Catalog::kOwnLiveDir), .chosen = true});
  }
  txn.commit();
}

/// Renames without replacing; false when the new name is taken, or another one has deleted the old.
bool rename_to_free_name(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno == EINVAL || errno == ENOSYS) {
    // A file system that cannot; the caller deletes the other name.
    if (::link(from.c_str(), to.c_str()) == 0) return true;
  }
  if (errno == EEXIST || errno == ENOENT) return false;
  throw system_error(errno, "rename", from);
}

}  // namespace

void create_data_file(const std::filesystem::path& directory, const Options& options) {
  const UnfinishedFile file(directory);
  write_tables(file.path(), options);
  // The loser opens the winner's; it syncs the names too, for the winner may die before it does.
  rename_to_free_name(file.path(), directory / "data.mdb");
  sync_directory(directory);
}

void replace_data_file(const std::filesystem::path& directory, const Options& options) {
  const UnfinishedFile file(directory);
  write_tables(file.path(), options);
  if (::rename(file.path().c_str(), (directory / "data.mdb").c_str()) != 0) {
    throw system_error(errno, "rename", file.path());
  }
  sync_directory(directory);
}

bool is_unfinished(const OpenLock& lock, const std::filesystem::path& directory) {
  // Both are written at once, before anything else; LMDB insists on the first.
  const bool empty = lock.status().st_size == 0;
  const lmdb::Pages pages(lock.descriptor(), directory);
  if (!empty && pages.meta(0).usable()) {
    const auto untouched = [](const lmdb::Meta& meta) {
      return meta.usable() && meta.transaction == 0 && meta.main.root == lmdb::kNoPage && meta.main.entries == 0;
    };
    return untouched(pages.meta(0)) && untouched(pages.meta(1));
  }
  // An earlier version's file of locks is empty until the store is complete. What is nobody's is damaged.
  const bool never_complete = lock.used_by_earlier_version() && lock.formerly_noted_live_dir().empty() &&
                              !std::filesystem::exists(directory / "live");
  if (never_complete) return true;
  if (!empty) return false;  // LMDB says what is wrong.
  const std::filesystem::path data = directory / "data.mdb";
  throw error_at(ErrorCode::corrupt, data,
                 "is empty; restore it from a backup, or delete the directory to begin with an empty store");
}

void remove_unfinished(const std::filesystem::path& directory) {
  std::error_code failed;
  std::vector<std::filesystem::path> left;
  for (std::filesystem::directory_iterator at(directory, failed), end; !failed && at != end; at.increment(failed)) {
    if (at->path().filename().string().starts_with(kNewDataPrefix)) left.push_back(at->path());
  }
  for (const auto& path : left) {
    const Descriptor file = open_descriptor(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;  // Gone, another user's, or being made.
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", path);
  }
}

}  // namespace oncelog::internal
