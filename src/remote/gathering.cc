#include "remote/gathering.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <iterator>
#include <optional>
#include <utility>

#include <oncelog/error.h>

#include "remote/call_limit.h"

namespace oncelog::internal::remote {

/// What the calls of a lane have in common, but for the scope.
struct Gathering::Kind {
  enum class What : std::uint8_t { find, mark, claim };

  What what;
  bool whole = false;   // Of find.
  Ack ack = Ack::host;  // Of mark.
  Terms terms = {};     // Of claim.

  friend bool operator==(const Kind&, const Kind&) = default;
};

/// Where a thread sleeps. It outlives its thread's calls, so that whoever wakes it needs no lock of theirs.
class Gathering::Turn {
 public:
  /// The calling thread's.
  static const std::shared_ptr<Turn>& mine() {
    thread_local const auto turn = std::make_shared<Turn>();
    return turn;
  }

  void wake() {
    {
      const std::lock_guard guard(mutex_);
      awake_ = true;
    }
    changed_.notify_one();
  }
  /// False when nobody has called wake() until then. May return at once for a former call's sake.
  bool sleep_until(Limit limit) {
    std::unique_lock lock(mutex_);
    const bool woken = changed_.wait_until(lock, limit, [this] { return awake_; });
    awake_ = false;
    return woken;
  }
  void sleep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return awake_; });
    awake_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool awake_ = false;
};

/// One caller's call, on its stack.
struct Gathering::Call {
  enum class State : std::uint8_t { waiting, sent, answered };

  std::span<const std::string_view> ids = {};  // Of find,
  std::span<std::optional<Record>> found = {};
  std::span<const Ask> asked = {};  // and of the others.
  const Attempt* attempt = nullptr;
  std::span<Answer> answers = {};
  Limit limit = {};  // Until when it may wait.

  /// Written under the mutex. Once it is `answered`, nobody but its caller touches the call.
  std::atomic<State> state{State::waiting};
  std::shared_ptr<const Failure> failure = nullptr;
  std::shared_ptr<Turn> turn = Turn::mine();  // Woken when it has an answer, or nobody sends for its lane.

  std::size_t size() const { return ids.size() + asked.size(); }
};

struct Gathering::Lane {
  Kind kind;
  std::string scope;
  std::vector<Call*> waiting = {};  // In the order in which they came.
  bool under_way = false;           // A thread sends a batch.

  bool unused() const { return waiting.empty() && !under_way; }
  /// The one that has to send next; null when there is none, or a batch is under way.
  std::shared_ptr<Turn> next() const { return under_way || waiting.empty() ? nullptr : waiting.front()->turn; }
};

/// What a batch failed with. Each of its callers throws an exception of its own, as another thread may still read the
/// first one.
class Gathering::Failure {
 public:
  /// Keeps the exception that is being handled.
  void take_current() noexcept {
    try {
      copy_current();
    } catch (...) {  // Of another type, or no memory is left for a copy: then it is shared.
      other_ = std::current_exception();
    }
  }

  [[noreturn]] void raise() const {
    if (other_) std::rethrow_exception(other_);
    if (lost_) throw ConnectionLost(*lost_);
    throw Error(code_, sentence_, path_);
  }

 private:
  void copy_current() {
    try {
      throw;
    } catch (const ConnectionLost& lost) {
      lost_ = lost.what();
    } catch (const Error& error) {
      code_ = error.code();
      sentence_ = error.what();
      path_ = error.path();
    }
  }

  std::exception_ptr other_;
  std::optional<std::string> lost_;
  ErrorCode code_ = ErrorCode::io;
  std::string sentence_;
  std::filesystem::path path_;
};

Gathering::Gathering(std::shared_ptr<Backend> next, std::chrono::milliseconds timeout)
    : Forwarding(std::move(next)), timeout_(timeout) {}

Gathering::~Gathering() = default;

void Gathering::find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
                     std::span<std::optional<Record>> out) {
  if (ids.size() > kFewIds) return next().find(scope, ids, whole, out);
  Call own{.ids = ids, .found = out};
  join({.what = Kind::What::find, .whole = whole}, scope, own);
}

void Gathering::mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
                     std::span<Answer> out) {
  if (asked.size() > kFewIds) return next().mark(scope, asked, ack, attempt, out);
  Call own{.asked = asked, .attempt = &attempt, .answers = out};
  join({.what = Kind::What::mark, .ack = ack}, scope, own);
}

void Gathering::claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
                      std::span<Answer> out) {
  if (asked.size() > kFewIds) return next().claim(scope, asked, terms, attempt, out);
  Call own{.asked = asked, .attempt = &attempt, .answers = out};
  join({.what = Kind::What::claim, .terms = terms}, scope, own);
}

std::size_t Gathering::waiting() const {
  const std::lock_guard guard(mutex_);
  std::size_t calls = 0;
  for (const Lane& lane : lanes_) calls += lane.waiting.size();
  return calls;
}

Gathering::Lane& Gathering::lane_of(const Kind& kind, std::string_view scope) {
  const auto known =
      std::ranges::find_if(lanes_, [&](const Lane& lane) { return lane.kind == kind && lane.scope == scope; });
  return known != lanes_.end() ? *known : lanes_.emplace_back(Lane{kind, std::string(scope)});
}

void Gathering::leave_if_unused(const Lane& lane) {
  if (lane.unused()) lanes_.remove_if([&](const Lane& one) { return &one == &lane; });
}

/// Returns when the call has its answers.
void Gathering::join(const Kind& kind, std::string_view scope, Call& own) {
  const Limit limit = own.limit = CallLimit::or_within(timeout_);
  {
    std::unique_lock lock(mutex_);
    Lane& lane = lane_of(kind, scope);
    try {
      lane.waiting.push_back(&own);
      wait_in(lane, own, limit, lock);
    } catch (...) {  // Its turn did not come, or no memory is left to send it.
      withdraw(lane, own, lock);
      throw;
    }
  }
  if (own.failure) own.failure->raise();
}

/// Under the mutex but while it sleeps or sends. The lane is there as long as the call has no answer.
void Gathering::wait_in(Lane& lane, Call& own, Limit limit, std::unique_lock<std::mutex>& lock) {
  // Acquire: pairs with the release in lead.
  while (own.state.load(std::memory_order_acquire) != Call::State::answered) {
    if (!lock) lock.lock();
    const Call::State state = own.state.load(std::memory_order_relaxed);
    if (state == Call::State::answered) return;
    if (state == Call::State::waiting && !lane.under_way) {
      lead(lane, lock);
      continue;
    }
    lock.unlock();
    if (state == Call::State::sent) {
      own.turn->sleep();
    } else if (!own.turn->sleep_until(limit)) {
      lock.lock();
      if (own.state.load(std::memory_order_relaxed) == Call::State::waiting && lane.under_way) {
        throw ConnectionLost(
            fmt::format("{}: a batch that was sent before has no answer within {} ms", name(), timeout_.count()));
      }
    }
  }
}

/// Ends a call that was not sent.
void Gathering::withdraw(Lane& lane, Call& own, std::unique_lock<std::mutex>& lock) {
  std::erase(lane.waiting, &own);
  const std::shared_ptr<Turn> next = lane.next();
  leave_if_unused(lane);
  lock.unlock();
  if (next) next->wake();
}

/// Sends the batch whose turn it is. The caller's own call need not be in it. Returns without the lock.
void Gathering::lead(Lane& lane, std::unique_lock<std::mutex>& lock) {
  const auto failure = std::make_shared<Failure>();
  std::vector<std::shared_ptr<Turn>> turns(lane.waiting.size() + 1);
  const std::vector<Call*> batch = take_batch(lane);
  lane.under_way = true;
  lock.unlock();
  const bool answered = send(lane, batch, *failure);
  lock.lock();
  lane.under_way = false;
  // The first, so that the next batch is under way before this one's callers wake up.
  turns[0] = lane.next();
  for (std::size_t i = 0; i < batch.size(); ++i) {
    turns[i + 1] = batch[i]->turn;
    if (!answered) batch[i]->failure = failure;
    // Release: pairs with the acquire in wait_in. The call may be gone after it.
    batch[i]->state.store(Call::State::answered, std::memory_order_release);
  }
  leave_if_unused(lane);
  lock.unlock();
  for (const std::shared_ptr<Turn>& turn : turns) {
    if (turn && turn != Turn::mine()) turn->wake();
  }
}

std::vector<Gathering::Call*> Gathering::take_batch(Lane& lane) {
  std::size_t ids = 0;
  const auto end = std::ranges::find_if(lane.waiting, [&](const Call* call) {
    ids += call->size();
    return ids > kMostIds;
  });
  std::vector<Call*> batch(lane.waiting.begin(), end);
  lane.waiting.erase(lane.waiting.begin(), end);
  for (Call* call : batch) call->state.store(Call::State::sent, std::memory_order_relaxed);
  return batch;
}

/// Returns whether all have their answers.
bool Gathering::send(const Lane& lane, std::span<Call* const> batch, Failure& failure) {
  // No caller may wait longer than it wants to because it shares a batch: the others ask again.
  const CallLimit limit((*std::ranges::min_element(batch, {}, &Call::limit))->limit);
  try {
    if (batch.size() == 1) {
      send_alone(lane, *batch.front());
    } else if (lane.kind.what == Kind::What::find) {
      send_finds(lane, batch);
    } else {
      send_asks(lane, batch);
    }
    return true;
  } catch (...) {  // Whatever it is, each caller throws it.
    failure.take_current();
    return false;
  }
}

void Gathering::send_alone(const Lane& lane, const Call& call) {
  if (lane.kind.what == Kind::What::find) {
    next().find(lane.scope, call.ids, lane.kind.whole, call.found);
  } else {
    ask(lane, call.asked, *call.attempt, call.answers);
  }
}

void Gathering::send_finds(const Lane& lane, std::span<Call* const> batch) {
  std::vector<std::string_view> ids;
  for (const Call* call : batch) ids.insert(ids.end(), call->ids.begin(), call->ids.end());
  std::vector<std::optional<Record>> found(ids.size());
  next().find(lane.scope, ids, lane.kind.whole, found);
  auto from = found.begin();
  for (const Call* call : batch) {
    const auto to = from + std::ssize(call->found);
    std::move(from, to, call->found.begin());
    from = to;
  }
}

void Gathering::send_asks(const Lane& lane, std::span<Call* const> batch) {
  std::vector<Ask> asked;
  for (const Call* call : batch) {
    for (const Ask& one : call->asked) asked.push_back({one.id, one.given, &attempt_of(one, *call->attempt)});
  }
  std::vector<Answer> answers(asked.size());
  ask(lane, asked, *batch.front()->attempt, answers);
  auto from = answers.begin();
  for (const Call* call : batch) {
    const auto to = from + std::ssize(call->answers);
    std::move(from, to, call->answers.begin());
    from = to;
  }
}

void Gathering::ask(const Lane& lane, std::span<const Ask> asked, const Attempt& attempt, std::span<Answer> out) {
  if (lane.kind.what == Kind::What::mark) {
    next().mark(lane.scope, asked, lane.kind.ack, attempt, out);
  } else {
    next().claim(lane.scope, asked, lane.kind.terms, attempt, out);
  }
}

}  // namespace oncelog::internal::remote
