#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "background/background.h"
#include "background/size_cap.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/shared_state.h"
#include "shared/uncommitted.h"

namespace oncelog::internal {

/// Group commit: moves what is accepted from the ring into LMDB, one fsynced transaction for all threads and processes.
/// Anyone may drive it; whoever gets LMDB's write lock works, the others wait, and what arrives while one commit syncs
/// is the next one's batch. In the background (see background.h) it is done every flush interval while this process
/// marks, and at once when a quarter of the ring is full, along with the upkeep that is given.
///
/// Each process flushes what it has marked itself. One that has marked nothing for an interval only looks now and then,
/// by a few loads: at what a process that was killed has left, and at what time has brought due.
///
/// Thread safety: all of it. Lock order: leader_, then LMDB's write lock, then the store's mutex.
class Flusher {
 public:
  static constexpr std::size_t kTrimBlocks = 256;  // 16 MB a commit, so that deleting delays no flush for long.

  Flusher(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live,
          std::uint64_t hash_seed, std::chrono::milliseconds interval);
  ~Flusher();

  /// How often an idle process looks at its store; less often where its flush interval is longer.
  static constexpr std::chrono::milliseconds kMostBetweenLooks{1000};

  /// What is done in the background besides. All of it may throw std::exception, which last_error() reports.
  struct Chores {
    std::function<bool()> upkeep_due;  ///< Whether upkeep() has something to do; asked in looks too.
    std::function<bool()> upkeep;      ///< One bounded round; whether there is more to do.
    std::function<void()> report;      ///< In looks too: takes microseconds.
    std::function<void()> reap;        ///< Seldom: gives back what dead processes have left.
    std::function<bool()> drop_early;  ///< In a commit, under a cap: Upkeep::drop_early.
    std::function<std::uint64_t(const lmdb::Txn&)> uncounted_pages;  ///< That a cap does not count.
  };

  /// Begins the background work, and ends it: nothing of it runs when stop() has returned. Error: io, when the system
  /// has no thread to give.
  void start(Chores chores);
  void stop();

  /// To be called after each mark of this process, once the store's mutex is free: `bell` asks for a round at once. A
  /// relaxed load, but for the first mark after a round.
  void marked(bool bell) {
    order_heads();
    // Relaxed: see note_mark.
    if (marks_.load(std::memory_order_relaxed) != Marks::seen) [[unlikely]]
      note_mark();
    if (bell) [[unlikely]]
      ring_bell();
  }

  /// Returns when everything below `target` is on disk. Throws what made the commit fail.
  void drive(Lsn target);

  /// One commit now: what is accepted, and at most kTrimBlocks of expired blocks, more where a cap wants their room.
  /// Returns how many were deleted: kTrimBlocks or more when there may be more to delete.
  std::size_t flush();

  // --- The steps of a commit, for who does one of its own under the gate, with its write transaction.

  /// Before anything else; see SizeCap::make_room.
  using Room = SizeCap::Room;
  std::optional<Room> make_room_under_cap(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes);
  /// First: settles what a dead transaction has left, and returns up to where the log has everything.
  Lsn catch_up(const lmdb::WriteTxn& txn);
  /// Puts [from, to) into the log; see write_log.
  void write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
             const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages = {});
  /// After the commit: everything below `to` is on disk.
  void publish(Lsn to);

  /// Has a round of the background begin now.
  void ring_bell();

  /// There is another cap: the background flushes, and obeys it.
  void note_cap() {
    trimmed_epoch_.store(~std::uint64_t{0}, std::memory_order_relaxed);  // Relaxed: a hint.
    ring_bell();
  }

  /// Throws the error that the last flush of this process failed with, if it did. One relaxed load when all is well.
  void throw_if_failed() {
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
  /// What this process has marked, as far as the background knows.
  enum class Marks : std::uint8_t {
    seen,    // Something since the last round began.
    none,    // Nothing since.
    asleep,  // Nothing since the round before, and there will be none before the next mark.
  };

  /// What a look compares with the one before it: where it stands still, its owner is gone.
  struct Leftover {
    std::uint64_t flushed = 0;
    std::uint64_t pending = 0;
    std::uint64_t epoch = 0;
    bool operator==(const Leftover&) const = default;
  };

  /// Keeps the store or load of `head` and the access to marks_ in the order in which they are written. On x86 nothing
  /// passes a read-modify-write, such as the unlocking of the store's mutex and the exchange of marks_.
  static void order_heads() {
#ifndef __x86_64__
    std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
  }

  Background::Next run();
  Background::Next look();
  Background::Next work();
  Background::Next next_look() const;
  bool may_sleep(bool own_marks) const;
  void note_mark();
  std::optional<Leftover> leftover() const;
  std::uint64_t waiting() const;
  bool due() const;
  std::size_t commit_or_make_room();
  bool make_room();
  std::size_t commit();
  template <typename Done>
  bool lead_unless(Done done);
  std::size_t lead();
  void remember(const Error* error);
  void note_trouble(std::string what);
  void throw_failure();

  const lmdb::Env& env_;
  const Log& log_;
  const Catalog& catalog_;
  SharedHeader& live_;
  const Ring ring_;
  Uncommitted uncommitted_;
  const std::chrono::milliseconds interval_;

  std::mutex leader_;                                            // Held by the one thread of this process that flushes.
  std::atomic<std::uint64_t> trimmed_epoch_{~std::uint64_t{0}};  // The layout at which nothing was left to delete.
  SizeCap cap_;

  // Read by each mark.
  std::atomic<bool> failed_{false};
  std::atomic<Marks> marks_{Marks::seen};

  mutable std::mutex error_mutex_;
  std::optional<Error> error_;  // Of the last flush, while it stands.
  Turns turns_;
  std::string trouble_;  // Of the last round of upkeep: reported, but no reason to refuse marks.

  // The background's.
  Chores chores_;
  Background::Clock::time_point reaped_{};
  std::optional<Leftover> left_over_;  // As the last look found it.
  unsigned locked_out_ = 0;            // Rounds in a row that did not get a lock.
  std::optional<Background::Task> task_;
};

}  // namespace oncelog::internal
