#include "filter_report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

namespace oncelog::tool {
namespace {

constexpr std::chrono::milliseconds kShowEvery{200};
constexpr const char* kEraseLine = "\r\033[K";

}  // namespace

FilterReport::FilterReport(std::string without_id, bool quiet)
    : without_id_(std::move(without_id)),
      quiet_(quiet),
      watched_(!quiet && ::isatty(STDERR_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 0) {}

void FilterReport::progress(const FilterCounts& counts) {
  if (!watched_ || Clock::now() - shown_ < kShowEvery) return;
  shown_ = Clock::now();
  fmt::print(stderr, "{}oncelog: {}", kEraseLine, text(counts));
  std::fflush(stderr);
}

void FilterReport::note(const std::string& sentence) {
  fmt::print(stderr, "{}oncelog: {}\n", watched_ ? kEraseLine : "", sentence);
}

void FilterReport::summary(const FilterCounts& counts) {
  if (quiet_) return;
  std::string ending;
  if (counts.in_hand != 0) {
    ending = fmt::format("; {} more are not marked, though some may have been written", counts.in_hand);
  }
  fmt::print(stderr, "{}oncelog: {}{}\n", watched_ ? kEraseLine : "", text(counts), ending);
}

std::string FilterReport::text(const FilterCounts& counts) const {
  const std::chrono::duration<double> elapsed = Clock::now() - begin_;
  const double rate = static_cast<double>(counts.lines) / std::max(elapsed.count(), 1e-9);
  std::string text = fmt::format("{} lines, {} fresh, {} duplicates", counts.lines, counts.fresh, counts.duplicates);
  if (counts.without_id != 0) text += fmt::format(", {} without an id ({})", counts.without_id, without_id_);
  return text + fmt::format(", {:.0f} lines/s", rate);
}

}  // namespace oncelog::tool
