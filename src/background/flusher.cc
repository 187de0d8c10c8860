#include "background/flusher.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <thread>
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

/// The number of the commit that the transaction comes after.
std::uint64_t newest_commit(const lmdb::WriteTxn& txn) {
  return mdb_txn_id(txn.get()) - 1;
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
      interval_(interval) {}

Flusher::~Flusher() {
  stop();
}

void Flusher::start(Chores chores) {
  chores_ = std::move(chores);
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

/// LMDB commits nothing when nothing is written: writes what is there as it is.
void Flusher::write_something(lmdb::WriteTxn& txn) const {
  if (const auto identity = catalog_.identity(txn)) catalog_.put_identity(txn, *identity);
}

// --- Under a cap
//
// Pages that a commit frees can be used again from the second commit after it on, and before that data.mdb grows where
// none is free. It stays below the cap when each commit begins with as many usable pages (and pages by which the file
// may still grow) as it can possibly take. So each one deletes so much that this holds for the next one of its size,
// and, beside that, for one of all that may wait: a transaction's is bound to its records, and cannot be put off or cut
// into pieces, nor can the one that saves the ring. A commit that is larger than those before it has others precede it
// that write nothing. Blocks are of one page (see write_log), so that a free page serves wherever it is; only records
// that are larger than that need some in a row.

/// The most pages that a commit of so many bytes takes. Of two blocks that follow each other one record would not have
/// fitted into the first: they are half full on average, at least.
std::uint64_t Flusher::most_pages_of(std::uint64_t bytes) const {
  constexpr std::uint64_t kTreePages = 16;    // Changed pages of the trees: both ends of the log, rows, the free list.
  constexpr std::uint64_t kBlocksALeaf = 64;  // At least, of blocks that have pages of their own.
  const std::uint64_t blocks = bytes == 0 ? 0 : 2 * bytes / Log::max_block_bytes(env_, 1) + 1;
  return blocks + blocks / kBlocksALeaf + kTreePages;
}

Flusher::Runs Flusher::waiting_runs() const {
  // Acquire: as in commit.
  const Lsn flushed{live_.marks.flushed.load(std::memory_order_acquire)};
  return runs_in(flushed, Lsn{live_.marks.head.load(std::memory_order_acquire)});
}

Flusher::Runs Flusher::runs_in(Lsn at, Lsn end) const {
  const std::uint64_t page = env_.page_bytes();
  Runs runs;
  while (at < end) {
    const RecordHeader header = ring_.stable_header(at);
    if (!header.well_formed() || header.bytes() > end.value - at.value) break;  // Found when it is written.
    if (const std::uint64_t pages = (header.bytes() + Log::kRunHeaderBytes + page - 1) / page; pages > 1) {
      runs.pages += pages;
      runs.longest = std::max(runs.longest, pages);
    }
    at.value += header.bytes();
  }
  return runs;
}

/// Returns what a transaction has to expect, whose own records are not known yet: those that all processes' had so far.
/// `runs` are some of those.
Flusher::Runs Flusher::note_runs(const Runs& runs) const {
  // No longer than what may wait at all: damage must not have everything forgotten.
  const std::uint64_t most = ring_.lent_bytes() / env_.page_bytes() + 1;
  const std::uint64_t before = std::min(live_.longest_run.load(std::memory_order_relaxed), most);
  const std::uint64_t longest = std::max(before, runs.longest);
  live_.longest_run.store(longest, std::memory_order_relaxed);
  return {2 * longest, longest};
}

std::optional<Flusher::Room> Flusher::room_under_cap(const lmdb::WriteTxn& txn, std::uint64_t bytes) {
  const std::uint64_t cap = live_.max_bytes.load(std::memory_order_relaxed);  // Relaxed: see there.
  if (cap == 0 || !chores_.drop_early) return std::nullopt;
  const auto less = [](std::uint64_t from, std::uint64_t by) { return from - std::min(from, by); };
  const std::uint64_t capped = cap / env_.page_bytes();
  const std::uint64_t growth = less(capped + chores_.uncounted_pages(txn), env_.used_bytes() / env_.page_bytes());
  const std::uint64_t now = most_pages_of(bytes);
  const std::uint64_t later = most_pages_of(ring_.lent_bytes());
  Runs runs;
  if (growth < now + later) {
    runs = waiting_runs();
    const Runs expected = note_runs(runs);
    if (bytes == 0) runs = expected;
  }
  if (!free_list_) free_list_.emplace(env_);
  const auto oldest = env_.oldest_snapshot();
  const bool pinned = oldest && *oldest < newest_commit(txn);
  const auto free = free_list_->pages(oldest, runs.longest);
  // What this one frees the next one cannot use yet: it is about as much as it takes.
  const std::uint64_t kept_free = later + 2 * now;
  // Not into pages that user tables have given back either: they may want them again.
  const std::uint64_t log_now = log_.pages(txn);
  const std::uint64_t log_pages =
      std::min(less(log_now + free.all + growth, kept_free), less(capped, kept_free + most_pages_of(0)));
  if (runs.longest > 1 && free.in_runs < runs.pages && growth < runs.pages + now) {
    // There are free pages, but not in a row: those of the next slice are. While a reader pins what is freed they could
    // not be used either, and commit after commit would forget another slice for nothing.
    const std::uint64_t without_slice = less(log_now, capped / BucketRules::kSlicesOfCap);
    return Room{false, now, pinned ? log_pages : std::min(log_pages, without_slice)};
  }
  return Room{free.usable + growth >= now + later, now, log_pages};
}

std::optional<Flusher::Room> Flusher::make_room_under_cap(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes) {
  constexpr unsigned kMostRounds = 8;
  for (unsigned round = 0;; ++round) {
    const auto room = room_under_cap(*txn, bytes);
    if (!room || room->enough || round == kMostRounds) return room;
    if (const auto oldest = env_.oldest_snapshot(); oldest && *oldest < newest_commit(*txn)) {
      // What is free is pinned: neither forgetting more nor another commit helps before that is over.
      if (!wait_for_readers(txn, *oldest)) return room;
      continue;
    }
    if (give_back(*txn, room->log_pages) == 0) write_something(*txn);
    txn->commit();
    txn.emplace(env_);
  }
}

/// Look-ups pin the pages of a commit for microseconds, but for some milliseconds when their thread loses the
/// processor. Waits for that, once for each commit that is pinned; false when it was in vain, or had been. Whoever was
/// killed pins until it is noticed.
bool Flusher::wait_for_readers(std::optional<lmdb::WriteTxn>& txn, std::uint64_t snapshot) {
  constexpr std::chrono::milliseconds kPatience{50};
  constexpr std::chrono::microseconds kPause{100};
  const auto is_over = [&] {
    const auto oldest = env_.oldest_snapshot();
    return !oldest || *oldest > snapshot;
  };
  env_.reader_check();
  if (is_over()) return true;
  if (snapshot <= waited_for_) return false;
  txn.reset();  // The gate keeps others from writing.
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  bool over = false;
  while (!over && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(kPause);
    over = is_over();
  }
  if (!over) waited_for_ = snapshot;
  txn.emplace(env_);
  return over;
}

/// Deletes the oldest blocks, and has buckets forgotten for that, until the log has no more than so many pages, or
/// nothing is left to delete. Returns how many blocks, at most kMostGivenBack.
std::size_t Flusher::give_back(lmdb::WriteTxn& txn, std::uint64_t log_pages) {
  const auto enough = [&] { return log_.pages(txn) <= log_pages; };
  const Lsn log_end = log_.end(txn).value_or(Lsn{});
  std::uint64_t epoch = 0;
  std::size_t deleted = 0;
  bool more = !enough();
  while (more) {
    // Acquire: as in commit.
    const Lsn head{live_.marks.head.load(std::memory_order_acquire)};
    const Layout layout = live_.layout.read(epoch);
    deleted += log_.trim(txn, oldest_lsn(layout, head), kMostGivenBack - deleted, enough);
    more = deleted < kMostGivenBack && !enough() && !layout.empty() && layout.buckets[0].first_lsn < log_end &&
           chores_.drop_early();
  }
  keep_forgotten(txn, catalog_, live_, live_.layout.read(epoch));
  return deleted;
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
      write_something(txn);
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
    const auto room = make_room_under_cap(txn, waiting());
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
    if (room) trimmed += give_back(*txn, room->log_pages);
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
  if (ring_.capped()) note_runs(runs_in(from, to));
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
