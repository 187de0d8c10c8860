#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "latencies.h"
#include "row.h"
#include "workload.h"

namespace oncelog::bench {

using Clock = std::chrono::steady_clock;

/// Measures operations that one thread does one after the other, until their time is up. Of single ones every other
/// chunk is timed as a whole, for the mean, and the others one by one, for the percentiles: reading the clock takes as
/// long as some of them.
class Meter {
 public:
  explicit Meter(std::chrono::nanoseconds limit) : limit_(limit) {}

  /// Gives it more time.
  void allow(std::chrono::nanoseconds time) { limit_ += time; }

  /// Does operate(i), which returns whether the answer was yes, for i from 0 to `count`. Returns how many it did.
  template <typename Operate>
  std::size_t singles(std::size_t count, Operate operate) {
    std::size_t done = 0;
    while (done < count && !over()) {
      const std::size_t end = std::min(done + kChunk, count);
      const Clock::time_point begin = Clock::now();
      Clock::time_point now = begin;
      if (++chunks_ % 2 == 0) {
        for (Clock::time_point last = begin; done < end; ++done, last = now) {
          yes_ += operate(done);
          now = Clock::now();
          latencies_.record(static_cast<std::uint64_t>((now - last).count()));
        }
      } else {
        const std::size_t first = done;
        for (; done < end; ++done) yes_ += operate(done);
        now = Clock::now();
        whole_time_ += now - begin;
        whole_ += end - first;
      }
      spent_ += now - begin;
    }
    return note_end(done, count);
  }

  /// Does operate(batch), which returns how many answers were yes, for all ids in [begin, end). Returns how many ids it
  /// did.
  template <typename Operate>
  std::size_t batches(const Ids& ids, std::size_t begin, std::size_t end, std::size_t batch, Operate operate) {
    std::size_t at = begin;
    while (at < end && !over()) {
      views_.clear();
      for (; at < end && views_.size() < batch; ++at) views_.push_back(ids[at]);
      const Clock::time_point start = Clock::now();
      yes_ += operate(std::span<const std::string_view>(views_));
      const auto time = Clock::now() - start;
      whole_time_ += time;
      whole_ += views_.size();
      spent_ += time;
    }
    return note_end(at - begin, end - begin);
  }

  bool over() const { return spent_ >= limit_; }
  std::chrono::nanoseconds spent() const { return spent_; }
  std::uint64_t operations() const { return operations_; }
  std::uint64_t yes() const { return yes_; }
  double ns() const { return whole_ == 0 ? 0 : static_cast<double>(whole_time_.count()) / static_cast<double>(whole_); }

  /// The mean of what this one has done since it was the other one.
  double ns_since(const Meter& before) const {
    const auto time = whole_time_ - before.whole_time_;
    return whole_ == before.whole_ ? 0
                                   : static_cast<double>(time.count()) / static_cast<double>(whole_ - before.whole_);
  }

  /// The row of what was measured, with its answers of both kinds still unset.
  Row row() const {
    Row row;
    row.value = ns();
    row.operations = operations_;
    row.limited = limited_;
    put_latencies(row, latencies_);
    return row;
  }
  static void put_latencies(Row& row, const Latencies& latencies) {
    row.samples = latencies.total();
    row.max_ns = static_cast<double>(latencies.max_ns());
    if (row.samples == 0) return;
    for (const double share : kShares) row.quantiles_ns.push_back(latencies.quantile_ns(share));
  }

 private:
  static constexpr std::size_t kChunk = 128;

  std::size_t note_end(std::size_t done, std::size_t meant) {
    operations_ += done;
    if (done < meant) limited_ = true;
    return done;
  }

  std::chrono::nanoseconds limit_;
  std::chrono::nanoseconds spent_{0};
  std::chrono::nanoseconds whole_time_{0};
  std::uint64_t whole_ = 0;
  std::uint64_t operations_ = 0;
  std::uint64_t yes_ = 0;
  std::uint64_t chunks_ = 0;
  bool limited_ = false;
  Latencies latencies_;
  std::vector<std::string_view> views_;
};

}  // namespace oncelog::bench
