#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace oncelog::bench {

/// Latencies in a histogram of fixed size: each power of two of nanoseconds is cut into 16, so a quantile is right to
/// 6%; the largest is kept exactly. Recording takes no memory and about a nanosecond.
class Latencies {
 public:
  void record(std::uint64_t ns) {
    ++counts_[slot_of(ns)];
    ++total_;
    if (ns > max_ns_) max_ns_ = ns;
  }

  /// Takes over what another one has recorded.
  void add(const Latencies& other) {
    for (unsigned slot = 0; slot < kSlots; ++slot) counts_[slot] += other.counts_[slot];
    total_ += other.total_;
    if (other.max_ns_ > max_ns_) max_ns_ = other.max_ns_;
  }

  std::uint64_t total() const { return total_; }
  std::uint64_t max_ns() const { return max_ns_; }

  /// The latency that `share` of all do not exceed, in nanoseconds.
  double quantile_ns(double share) const {
    const double wanted = share * static_cast<double>(total_);
    std::uint64_t seen = 0;
    for (unsigned slot = 0; slot < kSlots; ++slot) {
      seen += counts_[slot];
      if (static_cast<double>(seen) >= wanted) return static_cast<double>(upper_ns(slot));
    }
    return static_cast<double>(max_ns_);
  }

 private:
  static constexpr unsigned kStepBits = 4;
  static constexpr unsigned kSteps = 1U << kStepBits;
  static constexpr unsigned kSlots = (64 - kStepBits + 1) * kSteps;

  static unsigned slot_of(std::uint64_t ns) {
    if (ns < kSteps) return static_cast<unsigned>(ns);
    const unsigned shift = static_cast<unsigned>(std::bit_width(ns)) - 1 - kStepBits;
    return (shift + 1) * kSteps + static_cast<unsigned>(ns >> shift) - kSteps;
  }
  static std::uint64_t upper_ns(unsigned slot) {
    if (slot < kSteps) return slot;
    const unsigned shift = slot / kSteps - 1;
    return ((std::uint64_t{slot % kSteps} + kSteps + 1) << shift) - 1;
  }

  std::array<std::uint64_t, kSlots> counts_{};
  std::uint64_t total_ = 0;
  std::uint64_t max_ns_ = 0;
};

}  // namespace oncelog::bench
