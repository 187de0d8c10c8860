#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace oncelog::internal::lmdb {

/// How much address space data.mdb has in this process, and when more is tried for: to map it at another size, every
/// transaction of the process must have ended. It gets four times what it holds at first, and more when half of that is
/// full.
///
/// Thread safety: under its Env's mutex, but for note_full().
class AddressSpace {
 public:
  using Clock = std::chrono::steady_clock;

  /// How long is waited for transactions to end where there is next to no room, and where there is some.
  static constexpr std::chrono::milliseconds kUrgentPatience{1000};
  static constexpr std::chrono::milliseconds kPatience{10};

  /// At most `most` bytes, and at least `first`.
  AddressSpace(std::uint64_t most, std::uint64_t first) : most_(most), first_(first) {}

  std::uint64_t bytes() const { return bytes_; }
  void set(std::uint64_t bytes) { bytes_ = bytes; }
  std::uint64_t most() const { return most_; }
  bool can_grow() const { return bytes_ < most_; }

  /// What a file of which so much is used should have.
  std::uint64_t wanted_for(std::uint64_t used) const;

  /// More room to try for now.
  struct Growth {
    std::uint64_t bytes;
    std::chrono::milliseconds patience;
  };

  /// Before a write transaction begins: it has room for half of what there is, or for all that is left. Nothing when
  /// there is room enough, or more was waited for in vain not long ago.
  std::optional<Growth> growth(std::uint64_t used, Clock::time_point now) const;

  /// After a try: there is more room now, or there is not.
  void grown() { was_full_.store(false, std::memory_order_relaxed); }
  void not_grown(const Growth& growth, Clock::time_point now);

  /// A transaction ran out of room. Any thread: a hint, relaxed.
  void note_full() { was_full_.store(true, std::memory_order_relaxed); }

 private:
  const std::uint64_t most_;
  const std::uint64_t first_;
  std::uint64_t bytes_ = 0;
  Clock::time_point next_growth_{};         // When more room is next waited for,
  Clock::time_point next_urgent_growth_{};  // and when for long.
  std::atomic<bool> was_full_{false};
};

}  // namespace oncelog::internal::lmdb
