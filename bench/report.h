#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <vector>

namespace oncelog::bench {

/// A row that runs once a repetition and says itself how long that took.
template <typename Run>
void add_row(const std::string& name, int repetitions, Run run) {
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->Iterations(1)
      ->Repetitions(repetitions)
      ->ReportAggregatesOnly()
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

/// Prints the median of each benchmark's repetitions and how far they lie apart (cv), or the one run where it has one,
/// and keeps the counters of what it printed, by name, for a summary.
class MedianReporter final : public benchmark::ConsoleReporter {
 public:
  MedianReporter() : ConsoleReporter(OO_None) {}

  void ReportRuns(const std::vector<Run>& runs) override;

  /// A counter's median; nullptr when the benchmark has not run.
  const double* median(const std::string& benchmark, const std::string& counter) const;

 private:
  std::map<std::string, std::map<std::string, double>> medians_;
};

}  // namespace oncelog::bench
