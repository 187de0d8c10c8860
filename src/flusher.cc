#include "flusher.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <system_error>

#include "buckets.h"
#include "failpoint.h"
#include "log_writer.h"

namespace oncelog::internal {
namespace {

/// The host's monotonic clock, the same in all processes.
std::int64_t steady_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

constexpr std::chrono::microseconds kReaderCheckInterval = std::chrono::seconds{10};
constexpr std::chrono::milliseconds kRetryInterval{100};
constexpr std::chrono::microseconds kForever = std::chrono::hours{1};

/// Raises a watermark; a slower thread must not lower it again. Release: pairs with the acquires of `flushed`.
void raise(std::atomic<std::uint64_t>& mark, std::uint64_t value) {
  std::uint64_t before = mark.load(std::memory_order_relaxed);
  while (before < value &&
         !mark.compare_exchange_weak(before, value, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace

Flusher::Flusher(const lmdb::Env& env, const Log& log, const Catalog& catalog, const Live& live,
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

void Flusher::start(std::function<bool()> upkeep, std::function<void()> report) {
  upkeep_ = std::move(upkeep);
  report_ = std::move(report);
  // The application's signals are not this thread's business.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw Error(ErrorCode::io, fmt::format("{}: the system has no thread to give to the flusher", env_.path().string()),
                env_.path());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Flusher::stop() {
  if (!thread_.joinable()) return;
  stopping_.store(true, std::memory_order_release);  // Pairs with the acquire in run.
  ring_bell();
  thread_.join();
}

void Flusher::drive(Lsn target) {
  // What is asked for was accepted before the call; a target beyond would be waited for until somebody else marks.
  // Acquire: pairs with the release of head by the producers.
  target = std::min(target, Lsn{live_.marks.head.load(std::memory_order_acquire)});
  // Acquire: pairs with the release in raise; what a flush wrote is visible to who sees its watermark.
  while (live_.marks.flushed.load(std::memory_order_acquire) < target.value) {
    // Acquire: pairs with the release in lead. Read before the attempt to lead: the leader moves it after it has
    // stepped down, so a failed attempt and a sleep on the value seen here can't miss the leader's end.
    const std::uint32_t seen = live_.flush_count.load(std::memory_order_acquire);
    if (leader_.try_lock()) {
      lead();
    } else {
      futex_wait(live_.flush_count, seen, kForever);
    }
  }
}

std::size_t Flusher::flush() {
  leader_.lock();
  return lead();
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
      const WriterGate gate(live_);
      lmdb::WriteTxn txn(env_);
      std::uint64_t epoch = 0;
      // Acquire: pairs with the release of head by the producers. Before the layout, as in commit.
      const Lsn head{live_.marks.head.load(std::memory_order_acquire)};
      const Layout layout = live_.layout.read(epoch);
      log_.trim(txn, oldest_lsn(layout, head), kTrimBlocks);
      keep_forgotten(txn, catalog_, live_, layout);
      // As it is: LMDB commits nothing when nothing is written.
      if (const auto identity = catalog_.identity(txn)) catalog_.put_identity(txn, *identity);
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
    const WriterGate gate(live_);
    lmdb::WriteTxn txn(env_);
    const std::uint64_t flushed = catch_up(txn).value;
    // Acquire: pairs with the release of head by the producers. Before the layout: buckets that open later begin at or
    // above this head.
    head = live_.marks.head.load(std::memory_order_acquire);
    if (head < flushed) {
      throw Error(
          ErrorCode::corrupt,
          fmt::format(
              "{}: data.mdb has records up to {} but the shared memory only to {}; was it replaced while the store "
              "was open?",
              env_.path().string(), flushed, head),
          env_.path());
    }
    std::uint64_t epoch = 0;
    const Layout layout = live_.layout.read(epoch);
    trimmed = log_.trim(txn, oldest_lsn(layout, Lsn{head}), kTrimBlocks);
    // Only read by this process's due(), as a hint.
    if (trimmed < kTrimBlocks) trimmed_epoch_.store(epoch, std::memory_order_relaxed);
    bytes = head - flushed;
    bool forgot = false;
    if (bytes != 0) {
      write_log(txn, log_, catalog_, live_, ring_, layout, Lsn{flushed}, Lsn{head});
    } else {
      forgot = keep_forgotten(txn, catalog_, live_, layout);
    }
    failpoint();
    if (bytes == 0 && trimmed == 0 && !forgot) return 0;
    txn.commit();
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
  raise(live_.marks.flushed, log_end.value);
  return Lsn{live_.marks.flushed.load(std::memory_order_relaxed)};  // Relaxed: only raised under the gate.
}

void Flusher::write(lmdb::WriteTxn& txn, Lsn from, Lsn to,
                    const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages) {
  std::uint64_t epoch = 0;
  write_log(txn, log_, catalog_, live_, ring_, live_.layout.read(epoch), from, to, make_messages);
}

void Flusher::publish(Lsn to) {
  raise(live_.marks.flushed, to.value);
}

void Flusher::ring_bell() {
  live_.bell.fetch_add(1, std::memory_order_release);  // Pairs with the acquire in run.
  futex_wake_all(live_.bell);
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
  if (bytes >= ring_.bytes() / 4) return true;
  const std::int64_t since_us = steady_us() - live_.counters.last_flush_at_us.load(std::memory_order_relaxed);
  return since_us >= std::chrono::microseconds(interval_).count() / 2;
}

void Flusher::run() {
  std::int64_t readers_checked_us = steady_us();
  for (;;) {
    // Acquire: pair with the releases in ring_bell and stop. The bell first: a stop after it moves the bell.
    const std::uint32_t seen = live_.bell.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_acquire)) return;
    bool more = false;
    std::string trouble;
    const auto attempt = [&](const auto& part) {
      try {
        part();
      } catch (const std::exception& error) {  // Also out of memory: nothing may end the thread.
        trouble = error.what();
      }
    };
    // Each for itself: a flush without room needs the upkeep to drop what has expired, and the other way round.
    attempt([&] { more |= upkeep_(); });
    attempt([&] {
      if (due()) more |= flush() == kTrimBlocks;
    });
    attempt([&] {
      if (const std::int64_t now_us = steady_us(); now_us - readers_checked_us > kReaderCheckInterval.count()) {
        env_.reader_check();
        readers_checked_us = now_us;
      }
    });
    attempt([&] {
      if (report_) report_();
    });
    // Producers ring when they see a quarter of the ring fill up. One that filled during the flush had been full before
    // as they saw it, and so is looked at here.
    more |= waiting() >= ring_.bytes() / 4;
    more &= trouble.empty();
    note_trouble(trouble);
    // Space may come back at any time: marks that are refused meanwhile should not wait long for it.
    const bool failed = failed_.load(std::memory_order_relaxed);  // Relaxed: a hint.
    if (!more) futex_wait(live_.bell, seen, failed ? std::min(interval_, kRetryInterval) : interval_);
  }
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

void Flusher::note_trouble(const std::string& what) {
  const std::lock_guard guard(error_mutex_);
  trouble_ = what;
}

void Flusher::throw_failure() const {
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
