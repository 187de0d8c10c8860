#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "background/background.h"
#include "background/group_commit.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// When the group commit is made: in the background (see background.h) every flush interval while this process marks,
/// and at once when a quarter of the ring is full, along with the upkeep that is given.
///
/// Each process flushes what it has marked itself. One that has marked nothing for an interval only looks now and then,
/// by a few loads: at what a process that was killed has left, and at what time has brought due.
///
/// Thread safety: all of it. Lock order: see GroupCommit.
class Flusher {
 public:
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

  // --- The group commit's own, see there.

  void drive(Lsn target) { commit_.drive(target); }
  std::size_t flush() { return commit_.flush(); }
  std::optional<SizeCap::Room> make_room_under_cap(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes) {
    return commit_.cap().make_room(txn, bytes);
  }
  Lsn catch_up(const lmdb::WriteTxn& txn) { return commit_.catch_up(txn); }
  void write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
             const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages = {}) {
    commit_.write(txn, from, to, make_messages);
  }
  void publish(Lsn to) { commit_.publish(to); }
  using Turns = GroupCommit::Turns;
  Turns turns() const { return commit_.turns(); }

  /// Has a round of the background begin now.
  void ring_bell();

  /// There is another cap: the background flushes, and obeys it.
  void note_cap() {
    commit_.trim_again();
    ring_bell();
  }

  /// Throws the error that the last flush of this process failed with, if it did. One relaxed load when all is well.
  void throw_if_failed() {
    if (commit_.failed()) [[unlikely]]
      throw_failure();
  }
  /// Why the last flush or round of upkeep failed; empty when neither did.
  std::string last_error() const;

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
  bool due() const;
  void note_trouble(std::string what);
  void throw_failure();

  const lmdb::Env& env_;
  SharedHeader& live_;
  const Ring ring_;
  const std::chrono::milliseconds interval_;
  GroupCommit commit_;  // Ends with what each mark reads.
  std::atomic<Marks> marks_{Marks::seen};

  mutable std::mutex trouble_mutex_;
  std::string trouble_;  // Of the last round of upkeep: reported, but no reason to refuse marks.

  // The background's.
  Chores chores_;
  Background::Clock::time_point reaped_{};
  std::optional<Leftover> left_over_;  // As the last look found it.
  unsigned locked_out_ = 0;            // Rounds in a row that did not get a lock.
  std::optional<Background::Task> task_;
};

}  // namespace oncelog::internal
