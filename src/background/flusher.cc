#include "background/flusher.h"

#include <algorithm>
#include <new>
#include <utility>

namespace oncelog::internal {
namespace {

constexpr std::chrono::seconds kReapInterval{10};
// How long a round waits for a lock that others hold. A process that was stopped with a lock must not keep the
// background from other stores, so after some rounds in vain the lock is only tried.
constexpr std::chrono::milliseconds kLockPatience{5};
constexpr unsigned kPatientRounds = 4;
constexpr std::chrono::milliseconds kRetryInterval{100};

/// The error's text; if there is no memory for it, a text that needs none.
std::string text_of(const std::exception& error) noexcept {
  try {
    return error.what();
  } catch (const std::bad_alloc&) {
    return "out of memory";
  }
}

}  // namespace

Flusher::Flusher(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live,
                 std::uint64_t hash_seed, std::chrono::milliseconds interval)
    : env_(env),
      live_(live.header()),
      ring_(live.ring()),
      interval_(interval),
      commit_(env, log, catalog, live, hash_seed) {}

Flusher::~Flusher() {
  stop();
}

void Flusher::start(Chores chores) {
  chores_ = std::move(chores);
  commit_.cap().start(chores_.drop_early, chores_.uncounted_pages);
  reaped_ = Background::Clock::now();
  task_.emplace([this] { return run(); });
}

void Flusher::stop() {
  task_.reset();
}

void Flusher::ring_bell() {
  if (!task_) return;
  marks_.exchange(Marks::seen, std::memory_order_relaxed);  // Asks for a full round. Relaxed: see note_mark.
  task_->run_now();
}

/// Notes the first mark since a round began, or since the background fell asleep. Either the background reads, after
/// its own exchange of marks_, a head that includes the mark; or the mark's load of marks_ comes after that exchange
/// and finds what it stored. order_heads() keeps the two accesses of either side in order.
void Flusher::note_mark() {
  if (marks_.exchange(Marks::seen, std::memory_order_seq_cst) == Marks::asleep && task_) {
    task_->run_by(Background::Clock::now() + interval_);
  }
}

/// Whether the background has something to commit now. It has not when another process committed less than half an
/// interval ago.
bool Flusher::due() const {
  // Only a flush that succeeds clears a failure.
  if (commit_.failed() || !commit_.trimmed() || commit_.unsettled()) return true;
  const std::uint64_t bytes = commit_.waiting();
  if (bytes == 0) return false;
  if (bytes >= ring_.bell_bytes()) return true;
  return commit_.since_last_us() >= std::chrono::microseconds(interval_).count() / 2;
}

Background::Next Flusher::run() {
  return marks_.load(std::memory_order_relaxed) == Marks::asleep ? look() : work();  // Relaxed: a mark also rings.
}

/// A round of a process that marks nothing: takes none of the store's locks and waits for nothing.
Background::Next Flusher::look() {
  const auto now = Background::Clock::now();
  bool wake = false;
  bool soon = false;
  std::string trouble;
  try {
    chores_.report();
    // Another thread's flush may have failed meanwhile; it is tried again here.
    wake = commit_.failed() || now - reaped_ >= kReapInterval || chores_.upkeep_due();
    // Other processes flush what they have accepted, as long as they live. So this process does it for them only if the
    // next look finds the same.
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

/// When an idle store is looked at next. The range lets the looks at all idle stores come together.
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
  // Each on its own: a flush without room needs the upkeep to drop what has expired, and the other way round.
  attempt([&] { more |= chores_.upkeep(); });
  attempt([&] {
    if (due()) more |= flush() >= GroupCommit::kTrimBlocks;
  });
  attempt([&] {
    if (const auto now = Background::Clock::now(); now - reaped_ >= kReapInterval) {
      env_.reader_check();
      chores_.reap();
      reaped_ = now;
    }
  });
  attempt([&] { chores_.report(); });
  // Producers ring when they see a quarter of the ring fill up. To them one that filled up during the flush was full
  // before it, so it is checked here.
  more |= commit_.waiting() >= ring_.bell_bytes();
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
  // Space may come back at any time, and marks that are refused until then should not wait long for it.
  return Background::Next::at(now + (commit_.failed() ? std::min(interval_, kRetryInterval) : interval_));
}

/// After a round: whether this process has nothing left to do, and is not likely to have soon. What others have
/// accepted is theirs to flush.
bool Flusher::may_sleep(bool own_marks) const {
  // Hints, which the next look reads again.
  return !own_marks && !commit_.failed() && commit_.trimmed();
}

/// What is accepted, announced or expired in the store and not dealt with yet; nothing when the store is at rest.
std::optional<Flusher::Leftover> Flusher::leftover() const {
  Leftover left;
  // Acquire: pair with the releases of the threads that raise and announce them. `flushed` before `head`, which only
  // grows.
  left.flushed = live_.marks.flushed.load(std::memory_order_acquire);
  const bool waits = live_.marks.head.load(std::memory_order_acquire) != left.flushed;
  left.pending = live_.pending.begin.load(std::memory_order_acquire);
  left.epoch = live_.layout.epoch();
  if (!waits && left.pending == 0 && commit_.trimmed()) return std::nullopt;
  return left;
}

void Flusher::note_trouble(std::string what) {
  const std::lock_guard guard(trouble_mutex_);
  trouble_ = std::move(what);
}

/// For a caller that is refused. Has the flush tried again soon, even if the background has fallen asleep.
void Flusher::throw_failure() {
  if (task_) task_->run_by(Background::Clock::now() + std::min(interval_, kRetryInterval));
  // If there is none, a flush has succeeded since the flag was read.
  if (const auto failure = commit_.failure()) throw Error(*failure);
}

std::string Flusher::last_error() const {
  if (const auto failure = commit_.failure()) return failure->what();
  const std::lock_guard guard(trouble_mutex_);
  return trouble_;
}

}  // namespace oncelog::internal
