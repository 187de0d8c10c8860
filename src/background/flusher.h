#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "background/background.h"
#include "background/group_commit.h"
#include "base/store_locks.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Makes group commits in the background (see background.h), together with the upkeep that it is given: every flush
/// interval while this process marks, and at once when a quarter of the ring is full.
///
/// Each process flushes what it has marked itself. One that has marked nothing for an interval only looks now and then,
/// which costs a few loads, for what a killed process left behind and for upkeep that has become due.
///
/// Thread-safe. For the lock order see GroupCommit.
class Flusher {
 public:
  Flusher(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live,
          std::uint64_t hash_seed, std::chrono::milliseconds interval);
  ~Flusher();

  /// The longest time between two looks of an idle process, unless its flush interval is longer.
  static constexpr std::chrono::milliseconds kMostBetweenLooks{1000};

  /// What else is done in the background. Each may throw a std::exception, which last_error() reports.
  struct Chores {
    std::function<bool()> upkeep_due;  ///< Whether upkeep() has something to do. Called in looks too.
    std::function<bool()> upkeep;      ///< One bounded round. Returns whether there is more to do.
    std::function<void()> report;      ///< Called in looks too: takes microseconds.
    std::function<void()> reap;        ///< Called seldom: frees what dead processes left behind.
    std::function<bool()> drop_early;  ///< Called in commits under a cap: Upkeep::drop_early.
    std::function<std::uint64_t(const lmdb::Txn&)> uncounted_pages;  ///< Pages that a cap does not count.
  };

  /// Begin and end the background work: when stop() has returned, nothing of it runs. Throws Error::io when the system
  /// cannot start a thread.
  void start(Chores chores);
  void stop();

  /// To be called after each mark of this process, after the store's mutex is released. `bell` asks for a round at
  /// once. Costs a relaxed load, except for the first mark after a round.
  void marked(bool bell) {
    order_heads();
    // Relaxed: see note_mark.
    if (marks_.load(std::memory_order_relaxed) != Marks::seen) [[unlikely]]
      note_mark();
    if (bell) [[unlikely]]
      ring_bell();
  }

  // --- The group commit's calls, see there.

  void drive(Lsn target) EXCLUDES(kWriterGate, kStoreMutex) { commit_.drive(target); }
  std::size_t flush() EXCLUDES(kWriterGate, kStoreMutex) { return commit_.flush(); }
  std::optional<SizeCap::Room> make_room_under_cap(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes)
      REQUIRES(kWriterGate) {
    return commit_.cap().make_room(txn, bytes);
  }
  Lsn catch_up(const lmdb::WriteTxn& txn) REQUIRES(kWriterGate) { return commit_.catch_up(txn); }
  void write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
             const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages = {}) {
    commit_.write(txn, from, to, make_messages);
  }
  void publish(Lsn to) { commit_.publish(to); }
  using Turns = GroupCommit::Turns;
  Turns turns() const { return commit_.turns(); }

  /// Makes the background begin a round now.
  void ring_bell();

  /// To be called when the cap has changed: the background flushes, and obeys the new one.
  void note_cap() {
    commit_.trim_again();
    ring_bell();
  }

  /// Throws the error that this process's last flush failed with, if it did. One relaxed load when all is well.
  void throw_if_failed() {
    if (commit_.failed()) [[unlikely]]
      throw_failure();
  }
  /// Why the last flush or round of upkeep failed; empty if neither did.
  std::string last_error() const;

 private:
  /// What this process has marked, as far as the background knows.
  enum class Marks : std::uint8_t {
    seen,    // Something since the last round began.
    none,    // Nothing since the last round began.
    asleep,  // Nothing in the round before either: until the next mark there are only looks.
  };

  /// What is left to do in the store. If two looks in a row find the same, the process whose work it is has died.
  struct Leftover {
    std::uint64_t flushed = 0;
    std::uint64_t pending = 0;
    std::uint64_t epoch = 0;
    bool operator==(const Leftover&) const = default;
  };

  /// Keeps the access to `head` and the access to marks_ in the order in which the code has them. On x86 nothing passes
  /// a read-modify-write, such as the unlocking of the store's mutex or the exchange of marks_.
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
  GroupCommit commit_;  // Its last member and marks_ are what each mark reads.
  std::atomic<Marks> marks_{Marks::seen};

  mutable std::mutex trouble_mutex_;
  std::string trouble_;  // Why the last round of upkeep failed: reported, but no reason to refuse marks.

  // Used by the background alone.
  Chores chores_;
  Background::Clock::time_point reaped_{};
  std::optional<Leftover> left_over_;  // As the last look found it.
  unsigned locked_out_ = 0;            // Rounds in a row that did not get a lock.
  std::optional<Background::Task> task_;
};

}  // namespace oncelog::internal
