#pragma once

#include <atomic>
#include <cstdint>
#include <limits>

namespace oncelog::internal::remote {

/// What was learned of a scope from its last Pulse. A value.
struct Sighting {
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::min();

  std::uint64_t generation = 0;
  std::int64_t server_us = 0;      // The server's clock,
  std::int64_t asked_us = kNever;  // read after this moment of the boot clock.

  /// Nothing was ever learned.
  bool none() const { return server_us == 0; }

  /// The latest that the server's clock can be at that moment of the boot clock. Two clocks that nobody sets differ by
  /// less than a thousandth of what has passed.
  std::int64_t latest_server_us(std::int64_t boot_us) const {
    const std::int64_t passed_us = boot_us - asked_us;
    return server_us + passed_us + passed_us / 1000 + 1;
  }
};

/// A Sighting that many threads read without a lock while one writes it. A writer makes the turn odd, and even again;
/// a reader begins again when that has changed meanwhile.
class SightingCell {
 public:
  Sighting read() const {
    for (;;) {
      const std::uint64_t turn = turn_.load(std::memory_order_acquire);  // Pairs with the last store in write.
      // Acquire: pairs with the releases in write. A newer word brings the odd turn before it along.
      const Sighting seen{generation_.load(std::memory_order_acquire), server_us_.load(std::memory_order_acquire),
                          asked_us_.load(std::memory_order_acquire)};
      if (turn % 2 == 0 && turn_.load(std::memory_order_relaxed) == turn) [[likely]]
        return seen;
    }
  }

  /// One thread at a time.
  void write(const Sighting& seen) {
    const std::uint64_t turn = turn_.load(std::memory_order_relaxed);
    turn_.store(turn + 1, std::memory_order_relaxed);  // Before the words, which are releases.
    generation_.store(seen.generation, std::memory_order_release);
    server_us_.store(seen.server_us, std::memory_order_release);
    asked_us_.store(seen.asked_us, std::memory_order_release);
    turn_.store(turn + 2, std::memory_order_release);  // Pairs with the first load in read.
  }

 private:
  std::atomic<std::uint64_t> turn_{0};
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<std::int64_t> server_us_{0};
  std::atomic<std::int64_t> asked_us_{Sighting::kNever};
};

}  // namespace oncelog::internal::remote
