#include "maintenance/backup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <span>
#include <vector>

#include "base/descriptors.h"
#include "base/error.h"
#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "lmdb/snapshot.h"
#include "log/log.h"
#include "maintenance/closed_store.h"
#include "maintenance/staged_directory.h"
#include "maintenance/store_check.h"
#include "shared/directory.h"
#include "shared/leases.h"
#include "shared/open_lock.h"

namespace oncelog::internal {
namespace {

constexpr const char* kData = "data.mdb";

/// A file that is written.
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path)
      : path_(path), file_(open_descriptor(path, O_RDWR | O_CREAT | O_EXCL, 0660)) {
    if (!file_) throw system_error(errno, "creating it", path);
  }

  int fd() const { return file_.get(); }

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw system_error(errno, "writing it", path_);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }

  void sync() {
    if (::fsync(file_.get()) != 0) throw system_error(errno, "fsync", path_);
  }

 private:
  std::filesystem::path path_;
  Descriptor file_;
};

Error damaged(const std::filesystem::path& path, const std::string& what, const char* way_out) {
  return error_at(ErrorCode::corrupt, path, "{}; {}", what, way_out);
}

/// Throws Error::corrupt unless the pages of the commit are sound: LMDB follows them unchecked.
void check_sound(const lmdb::Pages& pages, const lmdb::Meta& meta, const char* way_out) {
  pages.census(meta, [&](const lmdb::Fault& fault) {
    throw damaged(pages.path(), fmt::format("page {} is damaged: {}", fault.page, fault.what), way_out);
  });
}

/// Copies the file's pages as they are, up to the commit's last one: what may follow is nobody's. Returns their bytes.
std::uint64_t copy_pages(const lmdb::Pages& from, const lmdb::Meta& meta, int fd, NewFile& to) {
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  const std::uint64_t end = std::min(from.file_bytes(), (meta.last_page + 1) * from.page_bytes());
  for (std::uint64_t at = 0; at < end;) {
    const auto some = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - at));
    const ssize_t got = ::pread(fd, buffer.data(), some, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(errno, "reading it", from.path());
    if (got == 0)
      throw damaged(from.path(), "it has become shorter while it was read", "leave it alone, and try again");
    to.write(std::span(buffer).first(static_cast<std::size_t>(got)));
    at += static_cast<std::uint64_t>(got);
  }
  return end;
}

std::int64_t modified_us(int fd, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw system_error(errno, "fstat", path);
  // A file may bear any time.
  constexpr std::int64_t kMostSeconds = std::int64_t{1} << 40;
  return std::clamp<std::int64_t>(status.st_mtim.tv_sec, 0, kMostSeconds) * 1'000'000;
}

/// The last moment that the store is known to have lived at: of its newest record, or of an earlier restore; where it
/// knows of neither, `otherwise_us`.
std::int64_t newest_moment_us(const Catalog& catalog, const lmdb::Txn& txn, std::int64_t otherwise_us) {
  auto newest_us = static_cast<std::int64_t>(catalog.number(txn, Catalog::Number::known_since_us));
  if (const auto rows = catalog.buckets(txn); !rows.empty()) {
    newest_us = std::max(newest_us, rows.back().second.newest_us);
  }
  return newest_us > 0 ? newest_us : otherwise_us;
}

/// By how much restore() raises an epoch; see kRestoreEpochs. At most so far that the new store can be booted and
/// restored again: its clock, or the backup's, may have been wrong by decades.
std::uint64_t epochs_to_skip(std::uint64_t epoch, std::int64_t newest_us, std::int64_t now_us) {
  constexpr std::int64_t kMinuteUs = 60'000'000;
  constexpr std::uint64_t kHighest = LeaseTable::kMaxEpoch - kRestoreEpochs;
  const std::int64_t minutes = now_us > newest_us ? (now_us - newest_us) / kMinuteUs : 0;
  const std::uint64_t most = kHighest - std::min(epoch + kRestoreEpochs, kHighest);
  return kRestoreEpochs + std::min(static_cast<std::uint64_t>(minutes), most);
}

/// Raises what a store must not repeat after it was put back to an earlier moment.
void forget_nothing_silently(const std::filesystem::path& directory, const Host& host, std::int64_t written_us,
                             RestoreReport& report) {
  constexpr std::uint64_t kMapSlack = std::uint64_t{16} << 20;  // For the one commit.
  constexpr std::uint64_t kGranule = std::uint64_t{64} << 10;
  const std::uint64_t map_bytes = (report.bytes + kMapSlack + kGranule - 1) / kGranule * kGranule;
  const lmdb::Env env(directory, MDB_NOTLS, map_bytes, 8, 8);
  lmdb::WriteTxn txn(env);
  const Catalog catalog(txn, 0);
  catalog.identity(txn);  // Throws when a number is damaged; writing one would give it a checksum.
  const std::uint64_t epoch = catalog.number(txn, Catalog::Number::token_epoch);
  if (epoch > LeaseTable::kMaxEpoch - kRestoreEpochs) {
    throw error_at(ErrorCode::corrupt, directory,
                   "the epoch of its fencing tokens is {} of at most {}, so that it cannot be raised by "
                   "{}; the backup can only be opened as it is, where tokens may be given again",
                   epoch, LeaseTable::kMaxEpoch, kRestoreEpochs);
  }
  const std::int64_t now_us = host.wall_us();
  report.token_epoch = epoch + epochs_to_skip(epoch, newest_moment_us(catalog, txn, written_us), now_us);
  const auto since_us = static_cast<std::int64_t>(catalog.number(txn, Catalog::Number::known_since_us));
  report.known_since = Time{std::chrono::microseconds{std::max(now_us, since_us)}};
  catalog.put_number(txn, Catalog::Number::token_epoch, report.token_epoch);
  catalog.put_number(txn, Catalog::Number::known_since_us, static_cast<std::uint64_t>(std::max(now_us, since_us)));
  txn.commit();
}

}  // namespace

BackupReport write_backup(const lmdb::Env& env, const std::filesystem::path& directory,
                          const std::filesystem::path& target, const std::function<Lsn()>& flush) {
  constexpr const char* kVerify = "oncelog verify says more";
  StagedDirectory staged(target, directory);
  BackupReport report;
  const Lsn before = flush();
  {
    NewFile file(staged.path() / kData);
    {
      lmdb::with_snapshot(env, directory / kData,
                          [&](const lmdb::Pages& pages, const lmdb::Meta& meta) { check_sound(pages, meta, kVerify); });
      // The copy begins a transaction of its own; this one keeps the environment open.
      const lmdb::Txn pin(env, MDB_RDONLY);
      const int code = mdb_env_copyfd2(env.get(), file.fd(), MDB_CP_COMPACT);
      if (code > 0) throw system_error(code, "writing the backup", staged.path() / kData);
      env.check(code, "mdb_env_copyfd2");
    }
    file.sync();
    const lmdb::Pages copy(file.fd(), staged.path() / kData);
    // LMDB writes a compact copy's tree by the second meta page.
    const lmdb::Meta meta = copy.newest().value_or(copy.meta(1));
    check_sound(copy, meta, kVerify);
    report.below = std::max(before, end_of_log(copy, meta, Lsn{}));
    report.bytes = copy.file_bytes();
  }
  staged.give_to_owner_of(directory / kData);
  staged.publish();
  return report;
}

RestoreReport restore_backup(const std::filesystem::path& backup, const std::filesystem::path& directory,
                             const RestoreOptions& options, const Host& host) {
  constexpr const char* kWayOut = "take another backup, or save what can be saved: oncelog repair";
  check_directory(backup, options_to_read(options.allow_foreign_owner));
  const std::filesystem::path data = backup / kData;
  // A backup that was never opened needs no lock, and gets none: it may lie where nothing can be written.
  std::optional<OpenLock> lock;
  lock_alone(lock, backup);
  StagedDirectory staged(directory, backup);
  RestoreReport report;
  std::int64_t written_us = 0;
  {
    const DataFile file(data);
    written_us = modified_us(file.fd(), data);
    const lmdb::Pages pages(file.fd(), data);
    VerifyReport found;
    const VerifyOptions every_record;
    StoreCheck check(found, every_record, {}, [&] { return host.wall_us(); });
    const auto meta = pages.newest();
    if (check.structure(pages, meta ? *meta : pages.meta(0)) && meta) check.rest(pages, *meta);
    for (const Problem& problem : found.problems) {
      if (problem.kind == ProblemKind::space) continue;
      throw damaged(backup, fmt::format("{}: {}", problem.where, problem.sentence), kWayOut);
    }
    report.below = check.position();
    NewFile copy(staged.path() / kData);
    report.bytes = copy_pages(pages, *meta, file.fd(), copy);
    copy.sync();
  }
  forget_nothing_silently(staged.path(), host, written_us, report);
  std::filesystem::remove(staged.path() / "lock.mdb");
  {
    const DataFile file(staged.path() / kData);
    report.bytes = lmdb::Pages(file.fd(), staged.path()).file_bytes();
  }
  staged.give_to_owner_of(data);
  staged.publish();
  return report;
}

}  // namespace oncelog::internal
