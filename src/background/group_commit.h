#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include <oncelog/error.h>

#include "background/size_cap.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "log/ring.h"
#include "shared/shared_state.h"
#include "shared/uncommitted.h"

namespace oncelog::internal {

/// Moves what is accepted from the ring into LMDB, one fsynced transaction for all threads and processes. Anyone may
/// drive it; one thread of a process leads, the first process to get the writer gate works, the others wait, and what
/// arrives while one commit syncs is the next one's batch.
///
/// Thread safety: all of it, the steps of a commit under the writer gate. Lock order: leader_, then the writer gate,
/// then LMDB's write lock, then the store's mutex.
class GroupCommit {
 public:
  static constexpr std::size_t kTrimBlocks = 256;  // 16 MB a commit, so that deleting delays no flush for long.

  GroupCommit(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live,
              std::uint64_t hash_seed);

  SizeCap& cap() { return cap_; }

  /// Returns when everything below `target` is on disk. Throws what made the commit fail.
  void drive(Lsn target);

  /// One commit now: what is accepted, and at most kTrimBlocks of expired blocks, more where a cap wants their room.
  /// Returns how many were deleted: kTrimBlocks or more when there may be more to delete.
  std::size_t flush();

  // --- The steps of a commit, for a thread that makes one of its own under the gate, with its write transaction.
  // Before them comes SizeCap::make_room.

  /// First: settles what a dead transaction has left, and returns up to where the log has everything.
  Lsn catch_up(const lmdb::WriteTxn& txn);
  /// Puts [from, to) into the log; see write_log.
  void write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
             const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages = {});
  /// After the commit: everything below `to` is on disk.
  void publish(Lsn to);

  /// Bytes that are accepted and not on disk.
  std::uint64_t waiting() const;
  /// How long ago any process's last commit was, in microseconds.
  std::int64_t since_last_us() const;
  /// Whether a transaction runs, or has died and is to be settled.
  bool unsettled() const { return uncommitted_.any(); }

  /// Whether this process has found nothing left to delete in the layout in force. Relaxed: a hint.
  bool trimmed() const { return trimmed_epoch_.load(std::memory_order_relaxed) == live_.layout.epoch(); }
  /// Makes trimmed() false until the next flush.
  void trim_again() { trimmed_epoch_.store(~std::uint64_t{0}, std::memory_order_relaxed); }

  /// Whether the last flush of this process failed. Relaxed: the error itself is read under its mutex.
  bool failed() const { return failed_.load(std::memory_order_relaxed); }
  /// What it failed with; nothing when it did not.
  std::optional<Error> failure() const;

  /// How often this process's flushes turned from well to failing or back: odd while they fail.
  struct Turns {
    std::uint64_t count = 0;
    std::string last_failure;
  };
  Turns turns() const;

 private:
  std::size_t commit_or_make_room();
  bool make_room();
  std::size_t commit();
  template <typename Done>
  bool lead_unless(Done done);
  std::size_t lead();
  void remember(const Error* error);

  const lmdb::Env& env_;
  const Log& log_;
  const Catalog& catalog_;
  SharedHeader& live_;
  const Ring ring_;
  Uncommitted uncommitted_;
  SizeCap cap_;

  std::mutex leader_;  // Held by the one thread of this process that flushes.

  mutable std::mutex error_mutex_;
  std::optional<Error> error_;  // Of the last flush, while it stands.
  Turns turns_;

  std::atomic<std::uint64_t> trimmed_epoch_{~std::uint64_t{0}};  // The layout at which nothing was left to delete.
  std::atomic<bool> failed_{false};                              // Read by each mark.
};

}  // namespace oncelog::internal
