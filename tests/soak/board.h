#pragma once

#include <time.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace oncelog::soak {

/// Microseconds since boot, suspended time included: what leases and retention run on.
inline std::int64_t boot_us() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * 1'000'000 + now.tv_nsec / 1'000;
}

/// Counts of durations by size: eight classes for each doubling, so that a percentile is right to an eighth. Written by
/// one thread, read by another; relaxed, for it orders nothing.
class Durations {
 public:
  static constexpr unsigned kClasses = 8 * 40;
  using Counts = std::array<std::uint32_t, kClasses>;

  void add(std::uint64_t ns) {
    std::atomic<std::uint32_t>& count = counts_[class_of(ns)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void add_to(Counts& sum) const {
    for (unsigned i = 0; i < kClasses; ++i) sum[i] += counts_[i].load(std::memory_order_relaxed);
  }
  /// The upper end of a class, in nanoseconds.
  static double end_of(unsigned number) {
    if (number < 16) return number + 1;
    return static_cast<double>(9 + number % 8) * static_cast<double>(std::uint64_t{1} << (number / 8 - 1));
  }

 private:
  static unsigned class_of(std::uint64_t ns) {
    if (ns < 16) return static_cast<unsigned>(ns);
    const unsigned doublings = static_cast<unsigned>(std::bit_width(ns)) - 4;  // From 1.
    return std::min(8 * (doublings + 1) + static_cast<unsigned>(ns >> doublings) % 8, kClasses - 1);
  }

  std::array<std::atomic<std::uint32_t>, kClasses> counts_;
};

/// What one thread of a worker has done in all its lives.
struct alignas(64) Tally {
  std::atomic<std::uint64_t> marks;
  std::atomic<std::uint64_t> fresh;
  std::atomic<std::uint64_t> checks;
  std::atomic<std::uint64_t> claims;
  std::atomic<std::uint64_t> transactions;
  std::atomic<std::uint64_t> forgotten;
  std::atomic<std::uint64_t> steps;  // Moves while the thread does anything at all.
  Durations mark_ns;
  Durations check_ns;

  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t n = 1) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

/// What all processes write down and compare: the promises, as their callers saw them kept. In anonymous shared memory,
/// which no death of a process takes along.
struct Board {
  static constexpr unsigned kWorkers = 3;
  static constexpr unsigned kThreads = 2;
  static constexpr std::size_t kIds = std::size_t{1} << 22;
  static constexpr std::size_t kClaims = 4096;
  static constexpr std::size_t kTransactions = 4096;

  /// When a message was last fresh, by its number modulo kIds: see Sighting.
  std::array<std::atomic<std::uint64_t>, kIds> sightings;
  std::atomic<std::uint64_t> next_id;

  /// Who holds the claim of an id of the claims' own: a life, or 0.
  std::array<std::atomic<std::uint32_t>, kClaims> holder;
  std::atomic<std::uint32_t> lock_holder;
  std::array<std::atomic<std::uint8_t>, 1 << 20> dead;  // By life: it was killed, and waited for.
  std::atomic<std::uint64_t> highest_token;

  std::array<std::atomic<std::uint64_t>, kTransactions> committed;  // Acknowledged, by number modulo.
  std::atomic<std::uint64_t> next_transaction;

  std::array<Tally, kWorkers * kThreads> tallies;
  std::atomic<bool> full_speed;
  std::atomic<std::int64_t> quiet_since_us;  // Boot clock, when not at full speed.
  std::atomic<bool> stop;

  std::atomic<std::uint32_t> failures;
  std::array<char, 1024> failure;  // The first one.

  void fail(const std::string& sentence) {
    if (failures.fetch_add(1) == 0) std::snprintf(failure.data(), failure.size(), "%s", sentence.c_str());
    stop.store(true);
  }
};

/// When a message was last fresh: the moment before the call that said so, in units of 100 us since the soak began, and
/// the lower half of its number.
struct Sighting {
  static constexpr std::int64_t kUnitUs = 100;

  std::uint32_t id = 0;
  std::uint32_t at = 0;

  static Sighting of(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word), static_cast<std::uint32_t>(word >> 32)};
  }
  std::uint64_t word() const { return std::uint64_t{at} << 32 | id; }
};

}  // namespace oncelog::soak
