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

// The same room: under a cap blocks have one page each.
static_assert(SizeCap::kMostGivenBack == GroupCommit::kTrimBlocks * Log::kBlockPages);

constexpr std::chrono::microseconds kForever = std::chrono::hours{1};

/// The host's monotonic clock, the same in all processes.
std::int64_t steady_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// Raises a watermark. Never lowers it: a slower thread may come with an earlier value. Release: pairs with the
/// acquires of `flushed`.
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
  // The caller asks for what was accepted before the call. Beyond the head it would wait until somebody else marks.
  // Acquire: pairs with the release of head by the producers.
  target = std::min(target, Lsn{live_.marks.head.load(std::memory_order_acquire)});
  // Acquire: pairs with the release in raise. A thread that sees the watermark also sees what the flush wrote.
  while (live_.marks.flushed.load(std::memory_order_acquire) < target.value) {
    if (lead_unless([&] { return live_.marks.flushed.load(std::memory_order_acquire) >= target.value; })) lead();
  }
}

std::size_t GroupCommit::flush() {
  while (!lead_unless([] { return false; })) {
  }
  return lead();
}

/// Becomes the leader as soon as there is none, unless done() is true before. Returns whether it leads.
template <typename Done>
bool GroupCommit::lead_unless(Done done) {
  if (leader_.try_lock()) return true;
  bool leads = false;
  WriterGate::bounded(env_.path(), [&](LockLimit::Clock::time_point deadline) {
    for (;;) {
      // Acquire: pairs with the release in lead. Read before the attempt to lead: the leader moves it after it has
      // stepped down, so a failed attempt followed by a sleep on the value seen here cannot miss it.
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

/// Flushes as the leader, and steps down whatever happens.
std::size_t GroupCommit::lead() {
  class SCOPED_CAPABILITY StepDown {
   public:
    explicit StepDown(GroupCommit& commit) REQUIRES(commit.leader_) : commit_(commit) {}
    ~StepDown() RELEASE() {
      commit_.leader_.unlock();
      commit_.live_.flush_count.fetch_add(1, std::memory_order_release);  // Pairs with the acquire in lead_unless.
      futex_wake_all(commit_.live_.flush_count);
    }

   private:
    GroupCommit& commit_;
  };
  const StepDown step_down(*this);
  try {
    const std::size_t trimmed = commit_or_make_room();
    remember(nullptr);
    return trimmed;
  } catch (const LockTimeout&) {
    throw;  // Somebody else is writing: no flush was tried, so none has failed.
  } catch (const Error& error) {
    remember(&error);
    throw;
  }
}

/// Commits; where there is no room, makes some and commits once more.
std::size_t GroupCommit::commit_or_make_room() {
  try {
    return commit();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::full || !make_room()) throw;
  }
  return commit();
}

/// LMDB reuses the pages that a transaction frees from the second transaction after it on, and a flush that finds no
/// room undoes its own deletions. So this commits deletions alone, twice, which makes the freed pages usable. Returns
/// false when there is no room even for that.
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
    return false;  // The caller throws the error that made it ask for room.
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
    // Under a cap no more than this commit takes: the next one cannot use freed pages yet.
    const std::size_t most_trimmed = room ? std::min<std::size_t>(kTrimBlocks, room->pages) : kTrimBlocks;
    trimmed = log_.trim(*txn, oldest_lsn(layout, Lsn{head}), most_trimmed);
    // Only this process reads it, as a hint.
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
  // The host's counters, changed without a lock. Relaxed: they order nothing.
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
  // The log's own end overrules the watermark: a process may have died after its commit and before it raised it.
  const Lsn log_end = log_.end(txn).value_or(Lsn{0});
  uncommitted_.settle(log_end);
  failpoint();
  publish(log_end);
  return Lsn{live_.marks.flushed.load(std::memory_order_relaxed)};  // Relaxed: others raise it no further than the
                                                                    // log's end while this thread holds the gate.
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
  // Acquire: pair with the release in raise and the producers' release of head. In this order, because head only grows.
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
