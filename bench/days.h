#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <string>

namespace oncelog::bench {

/// How a store on PostgreSQL is kept busy while ids expire.
struct Days {
  std::chrono::seconds day{10};  // The retention.
  unsigned count = 12;           // How many of them.
  std::size_t marks_a_second = 5'000;
};

/// Marks at an even rate for that long, and says how large the tables became, and what vacuum did.
void run_days(benchmark::State& state, const std::string& address, const Days& days);

}  // namespace oncelog::bench
