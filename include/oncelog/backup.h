#pragma once

/// @file
/// Copies of a store, and how to continue with one. Store::backup makes a copy while the store is used; restore() makes
/// a store of it.
///
/// What `cp -r` does instead: of a store that no process has open, data.mdb alone is a whole backup, and the other
/// files are rebuilt from it. Of a store that is open, the copy may be torn, since LMDB reuses pages while they are
/// copied. Use Store::backup there. A copy of the shared memory is never used with another data.mdb than the one it
/// belongs to.
///
/// A backup may also be opened as it is, like any store. That is right for looking into it, and for a service that
/// never returns to the original. It continues with the backup's fencing tokens, so that tokens which the original gave
/// later may be given again. It also continues with the backup's known_since, so that what was processed later is
/// fresh. restore() avoids both.

#include <cstdint>
#include <filesystem>

#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

/// What Store::backup has made.
struct BackupReport {
  /// Every mark whose LSN is below this is in the backup. At least Store::durable() at the time of the call.
  Lsn below;
  std::uint64_t bytes = 0;  ///< The size of the backup's data.mdb.
};

/// How restore() reads the backup.
struct RestoreOptions {
  /// Restore a backup whose files belong to neither this user nor root. See Options::allow_foreign_owner.
  bool allow_foreign_owner = false;
};

/// What restore() has made.
struct RestoreReport {
  Lsn below;                ///< Every mark whose LSN is below this is in the store.
  std::uint64_t bytes = 0;  ///< The size of the store's data.mdb.
  Time known_since;         ///< Of the new store: the moment of the restore.
  /// The epochs of the new store's fencing tokens are above this one: see kRestoreEpochs.
  std::uint64_t token_epoch = 0;
};

/// How far restore() raises the epoch of fencing tokens at least. A token's upper 24 bits are its epoch, which grows by
/// one with each boot of the host in which claims are taken. Its lower 40 bits count within the epoch.
///
/// The epoch of a restored store is the backup's, plus kRestoreEpochs, plus one for each whole minute of the wall clock
/// from the backup's newest moment to the restore. The newest moment is the time of the newest record or the stored
/// known_since, whichever is later. Where the backup holds neither, it is the time at which its data.mdb was last
/// written. So all tokens of a restored store are above
///
/// - those that the original gave after the backup, as long as the original was booted fewer than kRestoreEpochs times
///   in between;
/// - those that an earlier restore of the same backup has given, as long as that store was booted fewer times between
///   the two restores than whole minutes passed. Two restores within one minute may give the same tokens.
///
/// There are 16.7 million epochs, which is 31 years of such minutes. The minutes never take the last 4,096, so that a
/// clock that was wrong by decades does not use a store up. From there on, further restores of one backup give the same
/// tokens.
inline constexpr std::uint64_t kRestoreEpochs = 4096;

/// Makes a store in the new or empty directory `directory` from the backup in directory `backup`. The directory appears
/// under its name once it is complete and on disk. The backup is checked, LMDB's structure and every record of it, and
/// left as it is. It may lie on a network file system.
///
/// The new store remembers what the backup holds. What was processed after the backup was made is forgotten. Its ids
/// are fresh, unless the message says when it was sent (Attributes::sent_at) and that was before the restore: such an
/// id is Verdict::too_old, since nobody can tell whether it was processed. Claims and locks are not restored.
///
/// Any thread. Costs reading the backup and writing as much. Errors: not_found and not_a_store when there is no store
/// in `backup`; in_use when a process has it open; corrupt when it is damaged, or when its tokens have no epoch left;
/// invalid_argument when `directory` is not empty; full, no_permission, io.
ONCELOG_API RestoreReport restore(const std::filesystem::path& backup, const std::filesystem::path& directory,
                                  const RestoreOptions& options = {});

}  // namespace oncelog
