#include "background/flusher.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>

#include "background/log_writer.h"
#include "base/error.h"
#include "base/failpoint.h"
#include "shared/writer_gate.h"
#include "window/buckets.h"

namespace oncelog::internal {
namespace {

/// The host's monotonic clock, the same in all processes.
std::int64_t steady_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// As much room, in blocks of a page each.
static_assert(SizeCap::kMostGivenBack == Flusher::kTrimBlocks * Log::kBlockPages);

constexpr std::chrono::seconds kReapInterval{10};
// How long a round waits for a lock that others hold. One of a process that was stopped must not keep the background
// from other stores, so that after some rounds in vain it is only tried.
constexpr std::chrono::milliseconds kLockPatience{5};
constexpr unsigned kPatientRounds = 4;
constexpr std::chrono::milliseconds kRetryInterval{100};
constexpr std::chrono::microseconds kForever = std::chrono::hours{1};

/// What it says; where there is no memory for that, a text that takes none.
std::string text_of(const std::exception& error) noexcept {
  try {
    return error.what();
  } catch (const std::bad_alloc&) {
    return "out of memory";
  }
}

/// Raises a watermark; a slower thread must not lower it again. Release: pairs with the acquires of `flushed`.
void raise(std::atomic<std::uint64_t>& mark, std::uint64_t value) {
  std::uint64_t before = mark.load(std::memory_order_relaxed);
  while (before < value &&
         !mark.compare_exchange_weak(before, value, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace

Flusher::Flusher(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live,
                 std::uint64_t hash_seed, std::chrono::milliseconds interval)
    : env_(env),
      log_(log),
      catalog_(catalog),
      live_(live.header()),
      ring_(live.ring()),
      uncommitted_(live, hash_seed),
      interval_(interval),
      cap_(env, log, catalog, live) {}

Flusher::~Flusher() {
  stop();
}

void Flusher::start(Chores chores) {
  chores_ = std::move(chores);
  cap_.start(chores_.drop_early, chores_.uncounted_pages);
  reaped_ = Background::Clock::now();
  task_.emplace([this] { return run(); });
}

void Flusher::stop() {
  task_.reset();
}

void Flusher::drive(Lsn target) {
  // What is asked for was accepted before the call; a target beyond would be waited for until somebody else marks.
  // Acquire: pairs with the release of head by the producers.
  target = std::min(target, Lsn{live_.marks.head.load(std::memory_order_acquire)});
  // Acquire: pairs with the release in raise; what a flush wrote is visible to who sees its watermark.
  while (live_.marks.flushed.load(std::memory_order_acquire) < target.value) {
    if (lead_unless([&] { return live_.marks.flushed.load(std::memory_order_acquire) >= target.value; })) lead();
  }
}

std::size_t Flusher::flush() {
  lead_unless([] { return false; });
  return lead();
}

/// Becomes the leader, once there is none, unless `done()` before; returns whether it did.
template <typename Done>
bool Flusher::lead_unless(Done done) {
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
std::size_t Flusher::lead() {
  struct StepDown {
    Flusher& flusher;
    ~StepDown() {
      flusher.leader_.unlock();
      flusher.live_.flush_count.fetch_add(1, std::memory_order_release);  // Pairs with the acquire in drive.
      futex_wake_all(flusher.live_.flush_count);
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
std::size_t Flusher::commit_or_make_room() {
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
bool Flusher::make_room() {
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

std::size_t Flusher::commit() {
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

std::optional<Flusher::Room> Flusher::make_room_under_cap(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes) {
  return cap_.make_room(txn, bytes);
}

Lsn Flusher::catch_up(const lmdb::WriteTxn& txn) {
  // LMDB's own end overrules: a flusher may have died between its commit and the watermark.
  const Lsn log_end = log_.end(txn).value_or(Lsn{0});
  uncommitted_.settle(log_end);
  failpoint();
  publish(log_end);
  return Lsn{live_.marks.flushed.load(std::memory_order_relaxed)};  // Relaxed: only raised under the gate.
}

void Flusher::write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
                    const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages) {
  std::uint64_t epoch = 0;
  cap_.note_records(from, to);
  write_log(txn, log_, catalog_, live_, ring_, live_.layout.read(epoch), from, to, make_messages);
}

void Flusher::publish(Lsn to) {
  raise(live_.marks.flushed, to.value);
  raise(live_.marks.flushed_twin, to.value);
}

void Flusher::ring_bell() {
  if (!task_) return;
  marks_.exchange(Marks::seen, std::memory_order_relaxed);  // So that it is a full round. Relaxed: see note_mark.
  task_->run_now();
}

/// The first mark since a round began, or since the background fell asleep. Either the background reads a head that has
/// the mark after its own exchange of marks_, or the mark's load comes after that exchange and finds what it has left:
/// order_heads() keeps either side's two accesses in order.
void Flusher::note_mark() {
  if (marks_.exchange(Marks::seen, std::memory_order_seq_cst) == Marks::asleep && task_) {
    task_->run_by(Background::Clock::now() + interval_);
  }
}

/// Bytes that are accepted and not on disk.
std::uint64_t Flusher::waiting() const {
  // Acquire: pair with the releases in raise and of head by the producers. In this order, since head only grows.
  const std::uint64_t flushed = live_.marks.flushed.load(std::memory_order_acquire);
  return live_.marks.head.load(std::memory_order_acquire) - flushed;
}

/// Whether the background thread has something to commit now. Another process may have done it less than an interval
/// ago.
bool Flusher::due() const {
  if (failed_.load(std::memory_order_relaxed)) return true;  // Relaxed: a hint. Only a flush that succeeds clears it.
  if (trimmed_epoch_.load(std::memory_order_relaxed) != live_.layout.epoch()) return true;
  if (uncommitted_.any()) return true;  // Of a transaction that runs, or of one that died and is to be settled.
  const std::uint64_t bytes = waiting();
  if (bytes == 0) return false;
  if (bytes >= ring_.bell_bytes()) return true;
  const std::int64_t since_us = steady_us() - live_.counters.last_flush_at_us.load(std::memory_order_relaxed);
  return since_us >= std::chrono::microseconds(interval_).count() / 2;
}

Background::Next Flusher::run() {
  return marks_.load(std::memory_order_relaxed) == Marks::asleep ? look() : work();  // Relaxed: a mark rings besides.
}

/// A round of a process that marks nothing: takes no lock of the store's and waits for nothing.
Background::Next Flusher::look() {
  const auto now = Background::Clock::now();
  bool wake = false;
  bool soon = false;
  std::string trouble;
  try {
    chores_.report();
    // A flush of another thread's may have failed meanwhile, and is tried again here. Relaxed: a hint.
    wake = failed_.load(std::memory_order_relaxed) || now - reaped_ >= kReapInterval || chores_.upkeep_due();
    // What others have accepted they flush, as long as they live. So what is found is looked at once more before this
    // process does it for them.
    const auto found = leftover();
    wake |= found && found == left_over_;
    soon = found && !left_over_;
    left_over_ = found;
  } catch (const std::exception& error) {
    trouble = text_of(error);
  }
  note_trouble(std::move(trouble));
  if (wake) {
    left_over_.reset();
    marks_.exchange(Marks::seen, std::memory_order_seq_cst);  // As in note_mark.
    return Background::Next::at(now);
  }
  Background::Next next = next_look();
  if (soon) next.due = next.earliest = now + 2 * interval_;
  next.brief = true;
  return next;
}

/// When an idle store is looked at again; some time may be chosen, so that all idle stores take one turn.
Background::Next Flusher::next_look() const {
  const std::chrono::milliseconds period = std::max(interval_, std::min(20 * interval_, kMostBetweenLooks));
  const auto now = Background::Clock::now();
  return {now + period, now + period * 3 / 4, true};
}

/// A full round.
Background::Next Flusher::work() {
  // Before everything else is read: see note_mark.
  const bool own_marks = marks_.exchange(Marks::none, std::memory_order_seq_cst) == Marks::seen;
  order_heads();
  const LockLimit limit(locked_out_ < kPatientRounds ? kLockPatience : std::chrono::milliseconds{0});
  bool more = false;
  bool locked_out = false;
  std::string trouble;
  const auto attempt = [&](const auto& part) {
    try {
      part();
    } catch (const LockTimeout&) {
      locked_out = true;
    } catch (const std::exception& error) {  // Also out of memory: nothing may end the thread.
      trouble = text_of(error);
    }
  };
  // Each for itself: a flush without room needs the upkeep to drop what has expired, and the other way round.
  attempt([&] { more |= chores_.upkeep(); });
  attempt([&] {
    if (due()) more |= flush() >= kTrimBlocks;
  });
  attempt([&] {
    if (const auto now = Background::Clock::now(); now - reaped_ >= kReapInterval) {
      env_.reader_check();
      chores_.reap();
      reaped_ = now;
    }
  });
  attempt([&] { chores_.report(); });
  // Producers ring when they see a quarter of the ring fill up. One that filled during the flush had been full before
  // as they saw it, and so is looked at here.
  more |= waiting() >= ring_.bell_bytes();
  const bool untroubled = trouble.empty();
  more &= untroubled && !locked_out;
  note_trouble(std::move(trouble));
  const auto now = Background::Clock::now();
  if (locked_out) {
    const std::chrono::milliseconds retry{std::int64_t{1} << std::min(locked_out_++, 16U)};
    return Background::Next::at(now + std::min(interval_, retry));
  }
  locked_out_ = 0;
  if (more) return Background::Next::at(now);
  if (untroubled && may_sleep(own_marks)) {
    Marks none = Marks::none;
    if (marks_.compare_exchange_strong(none, Marks::asleep, std::memory_order_seq_cst)) return next_look();
  }
  // Space may come back at any time: marks that are refused meanwhile should not wait long for it.
  const bool failed = failed_.load(std::memory_order_relaxed);  // Relaxed: a hint.
  return Background::Next::at(now + (failed ? std::min(interval_, kRetryInterval) : interval_));
}

/// After a round: whether nothing of this process's is left to do, nor likely to come soon. What others have accepted
/// is theirs to flush.
bool Flusher::may_sleep(bool own_marks) const {
  // Relaxed: hints, which the next look reads again.
  return !own_marks && !failed_.load(std::memory_order_relaxed) &&
         trimmed_epoch_.load(std::memory_order_relaxed) == live_.layout.epoch();
}

/// What is accepted, announced or expired in the store and not dealt with; nothing when it is at rest.
std::optional<Flusher::Leftover> Flusher::leftover() const {
  Leftover left;
  // Acquire: pair with the releases of those who raise and announce them. Flushed before head, which only grows.
  left.flushed = live_.marks.flushed.load(std::memory_order_acquire);
  const bool waits = live_.marks.head.load(std::memory_order_acquire) != left.flushed;
  left.pending = live_.pending.begin.load(std::memory_order_acquire);
  left.epoch = live_.layout.epoch();
  const bool untrimmed = trimmed_epoch_.load(std::memory_order_relaxed) != left.epoch;  // Relaxed: a hint.
  if (!waits && left.pending == 0 && !untrimmed) return std::nullopt;
  return left;
}

void Flusher::remember(const Error* error) {
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

void Flusher::note_trouble(std::string what) {
  const std::lock_guard guard(error_mutex_);
  trouble_ = std::move(what);
}

/// For a caller that is refused: the flush is tried again soon, also when the background has fallen asleep.
void Flusher::throw_failure() {
  if (task_) task_->run_by(Background::Clock::now() + std::min(interval_, kRetryInterval));
  const std::lock_guard guard(error_mutex_);
  if (error_) throw Error(*error_);  // Otherwise a flush has succeeded since the flag was read.
}

Flusher::Turns Flusher::turns() const {
  const std::lock_guard guard(error_mutex_);
  return turns_;
}

std::string Flusher::last_error() const {
  const std::lock_guard guard(error_mutex_);
  return error_ ? error_->what() : trouble_;
}

}  // namespace oncelog::internal
