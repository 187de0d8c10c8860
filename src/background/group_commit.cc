#include "background/group_commit.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "background/log_writer.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "shared/writer_gate.h"
#include "window/buckets.h"

namespace oncelog::internal {
namespace {

// As much room, in blocks of a page each.
static_assert(SizeCap::kMostGivenBack == GroupCommit::kTrimBlocks * Log::kBlockPages);

constexpr std::chrono::microseconds kForever = std::chrono::hours{1};

/// The host's monotonic clock, the same in all processes.
std::int64_t steady_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Raises a watermark; a slower thread must not lower it again. Release: pairs with the acquires of `flushed`.
void raise(std::atomic<std::uint64_t>& mark, std::uint64_t value) {
  std::uint64_t before = mark.load(std::memory_order_relaxed);
  while (before < value &&
         !mark.compare_exchange_weak(before, value, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace

GroupCommit::GroupCommit(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live,
                         std::uint64_t hash_seed)
    : env_(env),
      log_(log),
      catalog_(catalog),
      live_(live.header()),
      ring_(live.ring()),
      uncommitted_(live, hash_seed),
      cap_(env, log, catalog, live) {}

void GroupCommit::drive(Lsn target) {
  // What is asked for was accepted before the call; a target beyond would be waited for until somebody else marks.
  // Acquire: pairs with the release of head by the producers.
  target = std::min(target, Lsn{live_.marks.head.load(std::memory_order_acquire)});
  // Acquire: pairs with the release in raise; what a flush wrote is visible to who sees its watermark.
  while (live_.marks.flushed.load(std::memory_order_acquire) < target.value) {
    if (lead_unless([&] { return live_.marks.flushed.load(std::memory_order_acquire) >= target.value; })) lead();
  }
}

std::size_t GroupCommit::flush() {
  lead_unless([] { return false; });
  return lead();
}

/// Becomes the leader, once there is none, unless `done()` before; returns whether it did.
template <typename Done>
bool GroupCommit::lead_unless(Done done) {
  if (leader_.try_lock()) return true;
  bool leads = false;
  WriterGate::bounded(env_.path(), [&](LockLimit::Clock::time_point deadline) {
    for (;;) {
      // Acquire: pairs with the release in lead. Read before the attempt to lead: the leader moves it after it has
      // stepped down, so a failed attempt and a sleep on the value seen here can't miss the leader's end.
      const std::uint32_t seen = live_.flush_count.load(std::memory_order_acquire);
      leads = leader_.try_lock();
      if (leads || done()) return true;
      const auto left = deadline - LockLimit::Clock::now();
      if (left <= left.zero()) return false;
      futex_wait(live_.flush_count, seen, std::min(kForever, std::chrono::ceil<std::chrono::microseconds>(left)));
    }
  });
  return leads;
}

/// Flushes as the leader, and steps down, whatever happens.
std::size_t GroupCommit::lead() {
  struct StepDown {
    GroupCommit& commit;
    ~StepDown() {
      commit.leader_.unlock();
      commit.live_.flush_count.fetch_add(1, std::memory_order_release);  // Pairs with the acquire in drive.
      futex_wake_all(commit.live_.flush_count);
    }
  };
  const StepDown step_down{*this};
  try {
    const std::size_t trimmed = commit_or_make_room();
    remember(nullptr);
    return trimmed;
  } catch (const LockTimeout&) {
    throw;  // Somebody else writes: no flush was tried, so none has failed.
  } catch (const Error& error) {
    remember(&error);
    throw;
  }
}

/// commit(), and when there is no room for it, once more after room was made.
std::size_t GroupCommit::commit_or_make_room() {
  try {
    return commit();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::full || !make_room()) throw;
  }
  return commit();
}

/// Pages that one transaction frees are LMDB's to give away from the second one after it, and a flush that finds no
/// room undoes its own deletions. So they are committed here alone, and twice, so that what they freed can be had.
/// False when not even that has room.
bool GroupCommit::make_room() {
  try {
    for (int i = 0; i < 2; ++i) {
      const WriterGate gate(live_, env_.path());
      lmdb::WriteTxn txn(env_);
      std::uint64_t epoch = 0;
      // Acquire: pairs with the release of head by the producers. Before the layout, as in commit.
      const Lsn head{live_.marks.head.load(std::memory_order_acquire)};
      const Layout layout = live_.layout.read(epoch);
      log_.trim(txn, oldest_lsn(layout, head), kTrimBlocks);
      keep_forgotten(txn, catalog_, live_, layout);
      write_something(txn, catalog_);
      txn.commit();
    }
    return true;
  } catch (const Error&) {
    return false;  // The caller throws what made it ask.
  }
}

std::size_t GroupCommit::commit() {
  const std::int64_t begin_us = steady_us();
  std::uint64_t head = 0;
  std::size_t trimmed = 0;
  std::uint64_t bytes = 0;
  {
    const WriterGate gate(live_, env_.path());
    std::optional<lmdb::WriteTxn> txn(std::in_place, env_);
    // Acquire: pairs with the release of head by the producers. Before the layout: buckets that open later begin at or
    // above this head.
    head = live_.marks.head.load(std::memory_order_acquire);
    const auto room = cap_.make_room(txn, waiting());
    const std::uint64_t flushed = catch_up(*txn).value;
    if (head < flushed) {
      throw error_at(ErrorCode::corrupt, env_.path(),
                     "data.mdb has records up to {} but the shared memory only to {}; was it replaced while the store "
                     "was open?",
                     flushed, head);
    }
    std::uint64_t epoch = 0;
    const Layout layout = live_.layout.read(epoch);
    // Under a cap, where the next commit cannot use them yet, no more than this one takes.
    const std::size_t most_trimmed = room ? std::min<std::size_t>(kTrimBlocks, room->pages) : kTrimBlocks;
    trimmed = log_.trim(*txn, oldest_lsn(layout, Lsn{head}), most_trimmed);
    // Only read by this process's due(), as a hint.
    if (trimmed < most_trimmed) trimmed_epoch_.store(epoch, std::memory_order_relaxed);
    bytes = head - flushed;
    bool forgot = false;
    if (bytes != 0) {
      write_log(*txn, log_, catalog_, live_, ring_, layout, Lsn{flushed}, Lsn{head});
    } else {
      forgot = keep_forgotten(*txn, catalog_, live_, layout);
    }
    if (room) trimmed += cap_.give_back(*txn, room->log_pages);
    failpoint();
    if (bytes == 0 && trimmed == 0 && !forgot) return 0;
    txn->commit();
  }
  failpoint();
  publish(Lsn{head});
  // Counters of the host, moved without a lock: relaxed, they order nothing.
  const auto now_us = steady_us();
  const auto took_us = static_cast<std::uint64_t>(now_us - begin_us);
  HostCounters& counters = live_.counters;
  counters.flushes.fetch_add(1, std::memory_order_relaxed);
  counters.flushed_bytes.fetch_add(bytes, std::memory_order_relaxed);
  counters.last_flush_us.store(took_us, std::memory_order_relaxed);
  counters.last_flush_at_us.store(now_us, std::memory_order_relaxed);
  raise(counters.longest_flush_us, took_us);
  counters.flush_us.add(took_us);
  counters.flush_bytes.add(bytes);
  return trimmed;
}

Lsn GroupCommit::catch_up(const lmdb::WriteTxn& txn) {
  // LMDB's own end overrules: a flusher may have died between its commit and the watermark.
  const Lsn log_end = log_.end(txn).value_or(Lsn{0});
  uncommitted_.settle(log_end);
  failpoint();
  publish(log_end);
  return Lsn{live_.marks.flushed.load(std::memory_order_relaxed)};  // Relaxed: only raised under the gate.
}

void GroupCommit::write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
                        const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages) {
  std::uint64_t epoch = 0;
  cap_.note_records(from, to);
  write_log(txn, log_, catalog_, live_, ring_, live_.layout.read(epoch), from, to, make_messages);
}

void GroupCommit::publish(Lsn to) {
  raise(live_.marks.flushed, to.value);
  raise(live_.marks.flushed_twin, to.value);
}

std::uint64_t GroupCommit::waiting() const {
  // Acquire: pair with the releases in raise and of head by the producers. In this order, since head only grows.
  const std::uint64_t flushed = live_.marks.flushed.load(std::memory_order_acquire);
  return live_.marks.head.load(std::memory_order_acquire) - flushed;
}

std::int64_t GroupCommit::since_last_us() const {
  return steady_us() - live_.counters.last_flush_at_us.load(std::memory_order_relaxed);  // Relaxed: a hint.
}

void GroupCommit::remember(const Error* error) {
  const std::lock_guard guard(error_mutex_);
  if (error != nullptr) {
    error_ = *error;
  } else {
    error_.reset();
  }
  if ((error != nullptr) != (turns_.count % 2 != 0)) ++turns_.count;
  if (error != nullptr) turns_.last_failure = error->what();
  failed_.store(error != nullptr, std::memory_order_relaxed);  // The error itself is under the mutex.
}

std::optional<Error> GroupCommit::failure() const {
  const std::lock_guard guard(error_mutex_);
  return error_;
}

GroupCommit::Turns GroupCommit::turns() const {
  const std::lock_guard guard(error_mutex_);
  return turns_;
}

}  // namespace oncelog::internal
