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
#include "base/mutex.h"
#include "base/store_locks.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "log/ring.h"
#include "shared/shared_state.h"
#include "shared/uncommitted.h"

namespace oncelog::internal {

/// Group commit: moves what is accepted from the ring into LMDB, in one fsynced transaction for all threads and
/// processes. Any thread may drive it. One thread of each process leads, and of the leaders the one that gets the
/// writer gate commits while the others wait. What arrives while a commit syncs is the next commit's batch.
///
/// Thread-safe; the steps of a commit are called under the writer gate. Lock order: leader_, then the writer gate, then
/// LMDB's write lock, then the store's mutex.
class GroupCommit {
 public:
  static constexpr std::size_t kTrimBlocks = 256;  // 16 MB a commit, so that deleting delays no flush for long.

  GroupCommit(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live,
              std::uint64_t hash_seed);

  SizeCap& cap() { return cap_; }

  /// Returns when everything below `target` is on disk. Throws the error that the commit failed with.
  void drive(Lsn target) EXCLUDES(leader_, kWriterGate, kStoreMutex);

  /// Commits now: writes what is accepted, and deletes at most kTrimBlocks expired blocks, or more where a cap needs
  /// their room. Returns how many it deleted: kTrimBlocks or more when there may be more to delete.
  std::size_t flush() EXCLUDES(leader_, kWriterGate, kStoreMutex);

  // --- The steps of a commit, for a caller that makes one of its own: under the writer gate, in its write transaction,
  // after SizeCap::make_room.

  /// The first step: settles what a dead transaction left, and returns the LSN below which the log holds everything.
  Lsn catch_up(const lmdb::WriteTxn& txn) REQUIRES(kWriterGate);
  /// Writes the ring's records of [from, to) into the log; see write_log.
  void write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
             const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages = {});
  /// The last step, after the commit: notes that everything below `to` is on disk.
  void publish(Lsn to);

  /// Bytes that are accepted and not on disk.
  std::uint64_t waiting() const;
  /// Microseconds since the last commit of any process.
  std::int64_t since_last_us() const;
  /// Whether a transaction is running, or has died and is still to be settled.
  bool unsettled() const { return uncommitted_.any(); }

  /// Whether this process found nothing left to delete under the layout in force. Relaxed: a hint.
  bool trimmed() const { return trimmed_epoch_.load(std::memory_order_relaxed) == live_.layout.epoch(); }
  /// Makes trimmed() false until the next flush.
  void trim_again() { trimmed_epoch_.store(~std::uint64_t{0}, std::memory_order_relaxed); }

  /// Whether the last flush of this process failed. Relaxed: the error itself is read under its mutex.
  bool failed() const { return failed_.load(std::memory_order_relaxed); }
  /// The error that it failed with; nothing when it succeeded.
  std::optional<Error> failure() const;

  /// How often this process's flushes have begun or ceased to fail: odd while they fail.
  struct Turns {
    std::uint64_t count = 0;
    std::string last_failure;
  };
  Turns turns() const;

 private:
  std::size_t commit_or_make_room() REQUIRES(leader_);
  bool make_room() REQUIRES(leader_);
  std::size_t commit() REQUIRES(leader_);
  template <typename Done>
  bool lead_unless(Done done) TRY_ACQUIRE(true, leader_);
  std::size_t lead() RELEASE(leader_);
  void remember(const Error* error);

  const lmdb::Env& env_;
  const Log& log_;
  const Catalog& catalog_;
  SharedHeader& live_;
  const Ring ring_;
  Uncommitted uncommitted_;
  SizeCap cap_;

  Mutex leader_;  // Held by the one thread of this process that flushes.

  mutable std::mutex error_mutex_;
  std::optional<Error> error_;  // Of the last flush, if it failed.
  Turns turns_;

  std::atomic<std::uint64_t> trimmed_epoch_{~std::uint64_t{0}};  // The layout at which nothing was left to delete.
  std::atomic<bool> failed_{false};                              // Read by each mark.
};

}  // namespace oncelog::internal
