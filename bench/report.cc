#include "report.h"

namespace oncelog::bench {

void MedianReporter::ReportRuns(const std::vector<Run>& runs) {
  std::vector<Run> told;
  for (const Run& run : runs) {
    const bool median = run.run_type == Run::RT_Aggregate && run.aggregate_name == "median";
    const bool only = run.run_type == Run::RT_Iteration && run.repetitions <= 1;
    const bool spread = run.run_type == Run::RT_Aggregate && run.aggregate_name == "cv";
    if (!median && !only && !spread && !run.error_occurred) continue;
    told.push_back(run);
    if (!median && !only) continue;
    for (const auto& [name, counter] : run.counters) medians_[run.run_name.function_name][name] = counter.value;
  }
  ConsoleReporter::ReportRuns(told);
}

const double* MedianReporter::median(const std::string& benchmark, const std::string& counter) const {
  const auto of = medians_.find(benchmark);
  if (of == medians_.end()) return nullptr;
  const auto value = of->second.find(counter);
  return value == of->second.end() ? nullptr : &value->second;
}

}  // namespace oncelog::bench
