#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string_view>

#include <fmt/format.h>

namespace oncelog::tool {

/// A line on standard error once a second, when that is a terminal or `wanted`. One thread.
class Progress {
 public:
  Progress(std::string_view done, bool wanted) : done_(done), shown_(wanted || ::isatty(STDERR_FILENO) == 1) {}

  void at(std::uint64_t records) {
    const auto now = Clock::now();
    if (!shown_ || now < next_) return;
    next_ = now + std::chrono::seconds{1};
    show(records, now);
  }
  void end(std::uint64_t records) const {
    if (shown_) show(records, Clock::now());
  }

 private:
  using Clock = std::chrono::steady_clock;

  void show(std::uint64_t records, Clock::time_point now) const {
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    fmt::print(stderr, "oncelog: {} records {}, {:.0f} a second\n", records, done_,
               seconds > 0 ? static_cast<double>(records) / seconds : 0.0);
  }

  const std::string_view done_;
  const bool shown_;
  const Clock::time_point begin_ = Clock::now();
  Clock::time_point next_ = begin_ + std::chrono::seconds{1};
};

}  // namespace oncelog::tool
