#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <mutex>

#include <oncelog/record.h>

namespace oncelog::internal {

/// Counts what happens to ids, in three places of one shape. A thread counts with plain loads and stores in a
/// ThreadTally of its own, which nobody else writes to, so that counting costs a nanosecond and shares no cache line. A
/// process's figures are the sums over its threads. Every round and look of the background, and the closing of the
/// store, add what they have grown by to a HostTally in shared memory. So the host's figures lag by a flush interval
/// while the process marks and by about a second otherwise, and a killed process loses that much of its counts.
///
/// All accesses are relaxed: counters order nothing. They begin as zeros.

/// What can happen to an id.
enum class IdEvent : std::uint8_t {
  // Decisions, in the order of Verdict.
  fresh,
  duplicate,
  in_progress,
  conflict,
  too_old,
  // Ends of claims: marked, too late, given up.
  completed,
  late,
  abandoned,
  // Answers to checks.
  known,
  unknown,
};
inline constexpr std::size_t kIdEvents = 10;

constexpr IdEvent event_of(Verdict verdict) {
  static_assert(static_cast<int>(IdEvent::fresh) == static_cast<int>(Verdict::fresh) &&
                static_cast<int>(IdEvent::too_old) == static_cast<int>(Verdict::too_old));
  return static_cast<IdEvent>(verdict);
}

/// How often values of each size were seen: bucket i counts those above 2^(i-1) and up to 2^i, and the last bucket all
/// larger ones.
template <typename Cell>
struct BasicHistogram {
  static constexpr std::size_t kBuckets = 40;

  static constexpr std::size_t bucket_of(std::uint64_t value) {
    const auto log = value <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(value - 1));
    return std::min(log, kBuckets - 1);
  }

  std::array<Cell, kBuckets> counts{};
  Cell sum{};
};

/// A histogram to which many threads and processes add.
struct HostHistogram : BasicHistogram<std::atomic<std::uint64_t>> {
  void add(std::uint64_t value) {
    counts[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
    sum.fetch_add(value, std::memory_order_relaxed);
  }
};

/// The calls whose time is sampled.
enum class Timed : std::uint8_t { mark, check };

template <typename Cell>
struct BasicTally {
  static constexpr std::uint32_t kSlots = 64;

  /// Each of the first scopes has a slot by its number. The others share slot 0, which is no scope's own.
  static constexpr std::uint32_t slot_of(std::uint32_t scope) { return scope < kSlots ? scope : 0; }

  Cell& of(std::uint32_t scope, IdEvent event) { return ids[slot_of(scope)][static_cast<std::size_t>(event)]; }
  BasicHistogram<Cell>& times_of(Timed what) { return times[static_cast<std::size_t>(what)]; }
  const BasicHistogram<Cell>& times_of(Timed what) const { return times[static_cast<std::size_t>(what)]; }

  /// Calls visit(cell, the same cell of `other`) for all cells except those of the slots from `slots` on.
  template <typename Other, typename Visit>
  void each(Other& other, std::uint32_t slots, Visit visit) {
    visit(filter_candidates, other.filter_candidates);
    visit(log_reads, other.log_reads);
    for (std::size_t t = 0; t < times.size(); ++t) {
      for (std::size_t i = 0; i < times[t].counts.size(); ++i) visit(times[t].counts[i], other.times[t].counts[i]);
      visit(times[t].sum, other.times[t].sum);
    }
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
      for (std::size_t event = 0; event < kIdEvents; ++event) visit(ids[slot][event], other.ids[slot][event]);
    }
  }

  Cell filter_candidates{};                     // Ids that the filter did not rule out.
  Cell log_reads{};                             // Records that were read from LMDB for an answer.
  std::array<BasicHistogram<Cell>, 2> times{};  // Nanoseconds, by Timed.
  std::array<std::array<Cell, kIdEvents>, kSlots> ids{};
};

using Tally = BasicTally<std::uint64_t>;
using HostTally = BasicTally<std::atomic<std::uint64_t>>;

struct ThreadTally : BasicTally<std::atomic<std::uint64_t>> {
  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  void count(std::uint32_t scope, IdEvent event, std::uint64_t n = 1) { add(of(scope, event), n); }

  std::array<std::uint32_t, 2> calls{};  // By Timed. Used by the thread alone.
};

/// Times every 64th call of a kind and thread, from its construction to its destruction: two readings of the clock
/// would cost too much for each call.
class SampledTime {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::uint32_t kEvery = 64;

  SampledTime(ThreadTally& tally, Timed what) : tally_(tally), what_(what) {
    if (++tally.calls[static_cast<std::size_t>(what)] % kEvery == 0) [[unlikely]]
      begin_ = Clock::now();
  }
  SampledTime(const SampledTime&) = delete;
  SampledTime& operator=(const SampledTime&) = delete;
  ~SampledTime() {
    if (begin_ != Clock::time_point{}) [[unlikely]]
      note();
  }

 private:
  void note() const;

  ThreadTally& tally_;
  const Timed what_;
  Clock::time_point begin_{};
};

/// The sums over a process's threads, and the part of them that the host has. Thread-safe.
class ProcessTally {
 public:
  explicit ProcessTally(HostTally& host) : host_(host) {}

  /// To be called for a scope before anything is counted for it: slots beyond those of known scopes are not read.
  void know_scope(std::uint32_t scope);

  /// Adds what is new to the host's figures, and returns the sums. `each_thread(visit)` calls visit(tally) for every
  /// ThreadTally that ever existed.
  template <typename EachThread>
  Tally fold(EachThread each_thread) {
    const std::lock_guard guard(mutex_);
    // Relaxed: a scope that is missed here is counted the next time.
    const std::uint32_t slots = slots_.load(std::memory_order_relaxed);
    Tally sums;
    each_thread([&](ThreadTally& thread) {
      sums.each(thread, slots, [](std::uint64_t& sum, const std::atomic<std::uint64_t>& counter) {
        sum += counter.load(std::memory_order_relaxed);
      });
    });
    add_to_host(sums, slots);
    return sums;
  }

 private:
  void add_to_host(const Tally& sums, std::uint32_t slots);

  HostTally& host_;
  std::atomic<std::uint32_t> slots_{1};
  std::mutex mutex_;
  Tally folded_;  // Guarded by mutex_: the part of the sums that the host has.
};

}  // namespace oncelog::internal
