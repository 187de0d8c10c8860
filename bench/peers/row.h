#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace oncelog::bench {

/// What one line of the table is about. All figures are costs: less is better.
struct Work {
  std::string_view key;
  std::string_view title;
  std::string_view unit;  // ns for an id, B for an id, or ms in all.
};

/// In the order of the table.
inline constexpr std::array kWorks{
    Work{"machine", "the machine itself: a random read of memory, meanwhile", "ns"},
    Work{"mark", "mark, one by one", "ns"},
    Work{"mark_batches", "mark, in batches", "ns"},
    Work{"check_fresh", "check of fresh ids", "ns"},
    Work{"check_fresh_batches", "the same in batches", "ns"},
    Work{"check_known", "check of duplicates, all alike", "ns"},
    Work{"check_known_batches", "the same in batches", "ns"},
    Work{"check_zipf", "check of duplicates, Zipf over age", "ns"},
    Work{"check_recent", "check of duplicates among the last 100,000", "ns"},
    Work{"consumer", "consumer: marks, 5% duplicates, most of them recent", "ns"},
    Work{"threads", "mark by 2 threads", "ns"},
    Work{"processes", "mark by 2 processes", "ns"},
    Work{"durable_1", "durable mark, 1 caller", "ns"},
    Work{"durable_4", "durable mark, 4 callers", "ns"},
    Work{"durable_16", "durable mark, 16 callers", "ns"},
    Work{"durable_64", "durable mark, 64 callers", "ns"},
    Work{"expiry_marks", "mark while a tenth expires", "ns"},
    Work{"expiry", "expiry of that tenth", "ns"},
    Work{"open_crash", "open after a crash", "ms"},
    Work{"open_reboot", "open after a reboot", "ms"},
    Work{"disk", "disk", "B"},
    Work{"memory", "memory", "B"},
};
/// A mark's cost at several sizes of one store, for a plot.
inline constexpr std::string_view kCurve = "curve";

/// The shares whose latencies are kept: 0, and from there each step halves or less what is above, up to 99.99%.
inline constexpr std::array kShares{0.1,  0.25,  0.5,   0.75,  0.9,    0.95,   0.98,
                                    0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999};

/// A figure of one peer.
struct Row {
  std::string peer;
  std::string work;
  std::size_t ids = 0;   // What the store was to hold.
  std::size_t held = 0;  // What it held when this was measured.
  double value = 0;      // In the work's unit.
  std::uint64_t operations = 0;
  std::uint64_t fresh = 0;                // Answers,
  std::uint64_t duplicate = 0;            // of both kinds,
  std::uint64_t wrong = 0;                // and how many of them were wrong.
  bool limited = false;                   // Fewer operations than meant, as the time was up.
  std::uint64_t samples = 0;              // Operations that were timed by themselves.
  std::vector<double> quantiles_ns = {};  // For each of kShares; empty where nothing was timed by itself.
  double max_ns = 0;
  std::string note = {};  // Why there is no figure, or what is to be known with it.

  bool measured() const { return operations > 0; }
  /// The latency that the share does not exceed; 0 where too few samples say.
  double quantile_ns(double share) const;

  std::string to_line() const;
  static Row from_line(const std::string& line);
};

/// The numbers, a comma between each two.
std::string joined(std::span<const double> numbers);

}  // namespace oncelog::bench
