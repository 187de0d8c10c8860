#pragma once

#include <cstdint>
#include <filesystem>

#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

/// Copies of a store, and how to go on with one. Store::backup makes one while the store is used; restore() makes a
/// store of it.
///
/// What `cp -r` does instead: of a store that no process has open, data.mdb is a whole backup, and the other files are
/// made again from it. Of a store that is open the copy may be torn: LMDB reuses pages while they are copied. Its copy
/// of the shared memory is never used by another data.mdb than the one it belongs to. Use Store::backup there.
///
/// A backup may also be opened as it is, like any store: right for looking into it, and for a service that never comes
/// back to the original. It then goes on with the fencing tokens of the moment of the backup, so that tokens given
/// between then and now may be given again, and with its known_since, so that what was processed since the backup is
/// fresh. restore() avoids both.

/// What Store::backup has made.
struct BackupReport {
  /// Every mark whose LSN is below this is in it. At least Store::durable() as it was when the call began.
  Lsn below;
  std::uint64_t bytes = 0;  ///< Of the data.mdb in it.
};

struct RestoreOptions {
  /// As Options::allow_foreign_owner, of the backup.
  bool allow_foreign_owner = false;
};

/// What restore() has made.
struct RestoreReport {
  Lsn below;                ///< As in BackupReport.
  std::uint64_t bytes = 0;  ///< Of data.mdb.
  Time known_since;         ///< Of the new store: the moment of the restore.
  /// The epochs of the new store's fencing tokens are above this one: see kRestoreEpochs.
  std::uint64_t token_epoch = 0;
};

/// How far restore() raises the epoch of fencing tokens at least. A token's upper 24 bits are its epoch, which grows by
/// one with each boot of the host in which claims are taken; its lower 40 bits count within that.
///
/// The epoch of a restored store is the backup's, plus kRestoreEpochs, plus one for each whole minute from the backup's
/// newest moment to the restore by the wall clock. That moment is the time of the newest record or the stored
/// known_since, whichever is later, and where the backup holds neither, when its data.mdb was last written. So all
/// tokens of a restored store are above
///
/// - those that the original gave after the backup, as long as the original was booted fewer than kRestoreEpochs times
///   in between;
/// - those that an earlier restore of the same backup has given, as long as that store was booted fewer times, between
///   the two restores, than whole minutes passed. Two restores within one minute may give the same tokens.
///
/// There are 16.7 million epochs, which is 31 years of such minutes. The minutes never take the last 4,096, so that a
/// clock that was wrong by decades does not use a store up; from there on further restores of one backup give the same
/// tokens.
inline constexpr std::uint64_t kRestoreEpochs = 4096;

/// Makes a store of the backup in directory `backup` in the new or empty directory `directory`, which appears under its
/// name when it is complete and on disk. Reads all of the backup, checks LMDB's structure and every record of it, and
/// leaves it as it is.
///
/// The new store remembers what the backup holds. What was processed after the backup was made is forgotten: its ids
/// are fresh, unless the message says when it was sent (Attributes::sent_at) and that lies before the restore; then it
/// is Verdict::too_old, since nobody can tell. Claims and locks are not restored.
///
/// Errors: not_found and not_a_store when there is no store in `backup`; in_use when a process has it open; corrupt
/// when it is damaged, or its tokens have no epoch left; invalid_argument when there is anything in `directory`; full,
/// no_permission, io. The backup may lie on a network file system.
ONCELOG_API RestoreReport restore(const std::filesystem::path& backup, const std::filesystem::path& directory,
                                  const RestoreOptions& options = {});

}  // namespace oncelog
