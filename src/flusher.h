#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "catalog.h"
#include "live.h"
#include "log.h"
#include "uncommitted.h"

namespace oncelog::internal {

/// Group commit: moves what is accepted from the ring into LMDB, one fsynced transaction for all threads and processes.
/// Anyone may drive it; whoever gets LMDB's write lock works, the others wait, and what arrives while one commit syncs
/// is the next one's batch. A thread of its own does it every flush interval, when the ring is a quarter full, and does
/// the upkeep it is given.
///
/// Thread safety: all of it. Lock order: leader_, then LMDB's write lock, then the store's mutex.
class Flusher {
 public:
  static constexpr std::size_t kTrimBlocks = 256;  // 16 MB a commit, so that deleting delays no flush for long.

  Flusher(const lmdb::Env& env, const Log& log, const Catalog& catalog, const Live& live, std::uint64_t hash_seed,
          std::chrono::milliseconds interval);
  ~Flusher();

  /// Starts the thread. In every round `upkeep` is called on it first, and returns true when it has more to do, and
  /// `report` last.
  void start(std::function<bool()> upkeep, std::function<void()> report = {});
  void stop();

  /// Returns when everything below `target` is on disk. Throws what made the commit fail.
  void drive(Lsn target);

  /// One commit now: what is accepted, and at most kTrimBlocks of expired blocks. Returns how many were deleted.
  std::size_t flush();

  // --- The steps of a commit, for who does one of its own under the gate, with its write transaction.

  /// First: settles what a dead transaction has left, and returns up to where the log has everything.
  Lsn catch_up(const lmdb::WriteTxn& txn);
  /// Puts [from, to) into the log; see write_log.
  void write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
             const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages = {});
  /// After the commit: everything below `to` is on disk.
  void publish(Lsn to);

  /// Has the flushers of all processes look now.
  void ring_bell();

  /// Throws the error that the last flush of this process failed with, if it did. One relaxed load when all is well.
  void throw_if_failed() const {
    // Relaxed: the error itself is read under its mutex.
    if (failed_.load(std::memory_order_relaxed)) [[unlikely]]
      throw_failure();
  }
  /// Why the last flush or round of upkeep failed; empty when neither did.
  std::string last_error() const;

  /// How often this process's flushes turned from well to failing or back: odd while they fail.
  struct Turns {
    std::uint64_t count = 0;
    std::string last_failure;
  };
  Turns turns() const;

 private:
  void run();
  std::uint64_t waiting() const;
  bool due() const;
  std::size_t commit_or_make_room();
  bool make_room();
  std::size_t commit();
  std::size_t lead();
  void remember(const Error* error);
  void note_trouble(const std::string& what);
  void throw_failure() const;

  const lmdb::Env& env_;
  const Log& log_;
  const Catalog& catalog_;
  LiveHeader& live_;
  const Ring ring_;
  Uncommitted uncommitted_;
  const std::chrono::milliseconds interval_;

  std::mutex leader_;                                            // Held by the one thread of this process that flushes.
  std::atomic<std::uint64_t> trimmed_epoch_{~std::uint64_t{0}};  // The layout at which nothing was left to delete.

  std::atomic<bool> failed_{false};
  mutable std::mutex error_mutex_;
  std::optional<Error> error_;  // Of the last flush, while it stands.
  Turns turns_;
  std::string trouble_;  // Of the last round of upkeep: told, but no reason to refuse marks.

  std::function<bool()> upkeep_;
  std::function<void()> report_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace oncelog::internal
