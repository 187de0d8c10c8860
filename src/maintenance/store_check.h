#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <oncelog/verify.h>

#include "base/descriptors.h"
#include "base/message_hash.h"
#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "log/record_codec.h"
#include "shared/open_lock.h"

namespace oncelog::internal {

/// Whether nothing can be written in a directory, because its file system is mounted read-only here.
bool is_mounted_read_only(const std::filesystem::path& directory);

/// Locks a store, and returns whether nobody has it open; then nobody opens it while the lock is held. On a file system
/// that is mounted read-only there is no lock, and whoever has it open by another mount makes this throw Error::in_use.
/// Nor is there one of a store without a lock.mdb, a backup, that this user may only read.
bool lock_if_closed(std::optional<OpenLock>& lock, const std::filesystem::path& directory);

/// Locks a store that nobody may have open while the lock is held. None is needed where there is no lock.mdb: nobody
/// can have the store open then, and none is made. Throws Error::in_use.
void lock_alone(std::optional<OpenLock>& lock, const std::filesystem::path& directory);

/// Collects problems, up to a number, and counts the rest. What is found again on another way to it is one problem.
class Problems {
 public:
  Problems(VerifyReport& report, std::size_t most) : report_(&report), most_(most) {}
  void add(ProblemKind kind, std::string where, std::string sentence, std::string meaning, std::string remedy);

 private:
  VerifyReport* report_;
  std::size_t most_;
};

/// A descriptor of data.mdb of its own. LMDB's locks lie on lock.mdb, so that closing this one drops none.
class DataFile {
 public:
  /// Throws Error::io or no_permission; not_a_store when it is no file.
  explicit DataFile(const std::filesystem::path& path);
  int fd() const { return file_.get(); }

 private:
  Descriptor file_;
};

/// The identity as stored in `bytes`; nothing when that is damaged. Throws Error::newer_format.
std::optional<StoreIdentity> stored_identity(std::span<const std::byte> bytes, const std::filesystem::path& path);

/// Whether the checksum over a table `meta` holds, or there is none because the store is of an earlier format.
bool meta_intact(const lmdb::Pages& pages, const lmdb::TreeInfo& table);

/// The whole value of an entry, up to `most` bytes; nothing when it is longer, or its pages are damaged.
std::optional<std::vector<std::byte>> value_of(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, std::size_t most,
                                               const lmdb::FaultVisitor& fault);

/// Where the next intact record begins, at or after `offset` of a block that begins at `block`; its size when there is
/// none.
std::size_t next_intact(std::span<const std::byte> block, std::size_t offset, Lsn lsn, std::uint64_t hash_seed);

/// Where the log ends, when it does not end before `from`. Of a structure that was found sound.
Lsn end_of_log(const lmdb::Pages& pages, const lmdb::Meta& meta, Lsn from);

/// The ranges of LSNs that repair() has left out of a log, as it has noted in table `meta`: (begin, end), ascending.
inline constexpr std::string_view kGapsKey = "gaps";
inline constexpr std::size_t kMostMetaBytes = std::size_t{64} << 20;  // Of one value there, such as the list of gaps.
using Gaps = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

/// What verify() looks at in data.mdb, read by lmdb::Pages alone. The snapshot may be another one for each call, if it
/// is not older. Used by one thread.
class StoreCheck {
 public:
  /// Called for each intact record.
  using RecordHook = std::function<void(const RecordView&, const MessageHash&, Lsn)>;

  /// `now_us()`: the clock for retention.
  StoreCheck(VerifyReport& report, const VerifyOptions& options, const VerifyProgressHook& progress,
             std::function<std::int64_t()> now_us);

  /// Both meta pages and all pages of the commit. False when LMDB must not follow it.
  bool structure(const lmdb::Pages& pages, const lmdb::Meta& meta);

  /// The small tables but `buckets`. Throws Error::newer_format; not_a_store when there is no table of a store.
  void tables(const lmdb::Pages& pages, const lmdb::Meta& meta);
  const std::optional<StoreIdentity>& identity() const { return identity_; }

  /// Some 16 MB of the log's blocks from where the last call ended. False when the snapshot's log has ended.
  bool log(const lmdb::Pages& pages, const lmdb::Meta& meta, const RecordHook& record = {});
  Lsn position() const { return at_; }

  /// Lets log() end with the block that reaches this LSN: those who write faster than it reads would keep it for ever.
  void end_at(Lsn end) { limit_ = end; }

  /// All but structure(), of a commit that stays as it is.
  void rest(const lmdb::Pages& pages, const lmdb::Meta& meta);

  /// The rows, against what log() has seen; with the snapshot of its last call.
  void buckets(const lmdb::Pages& pages, const lmdb::Meta& meta);

 private:
  using Rows = std::vector<std::pair<std::uint64_t, BucketRow>>;
  struct Seen {
    std::uint64_t entries = 0;
    std::int64_t newest_us = 0;
    Lsn first;
  };

  Rows rows(const lmdb::Pages& pages, const lmdb::Meta& meta, bool report);
  void block(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, Lsn lsn, const RecordHook& record);
  void records(std::span<const std::byte> bytes, Lsn lsn, const RecordHook& record);
  void count(const RecordView& record, Lsn lsn);
  void page_fault(const lmdb::Fault& fault);
  void read_known_since(const lmdb::Pages& pages, const lmdb::Meta& meta);
  bool is_live(std::int64_t time_us) const;

  VerifyReport& report_;
  Problems problems_;
  const VerifyProgressHook progress_;
  const std::function<std::int64_t()> clock_;
  std::int64_t now_us_;  // When the newest snapshot was there: what it no longer has had expired by then.
  std::size_t page_bytes_ = 0;
  std::optional<StoreIdentity> identity_;
  std::int64_t known_since_us_ = 0;
  std::uint64_t scope_count_ = 0;
  Gaps gaps_;
  Lsn at_;  // The log is checked below.
  std::optional<Lsn> limit_;
  bool any_block_ = false;
  Rows rows_;                           // Of the newest snapshot.
  std::map<std::uint64_t, Seen> seen_;  // By the bucket's number.
  std::uint64_t homeless_ = 0;          // Live records that belong to no row.
  Lsn first_homeless_;
  std::map<std::uint32_t, Lsn> unknown_scopes_;  // Where each was found first.
  std::vector<std::byte> buffer_;
};

}  // namespace oncelog::internal
