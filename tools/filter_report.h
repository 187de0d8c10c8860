#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace oncelog::tool {

/// What a filter run has done so far. Lines are counted once they are written and marked.
struct FilterCounts {
  std::uint64_t lines = 0;
  std::uint64_t fresh = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t without_id = 0;
  std::uint64_t in_hand = 0;  ///< Fresh, not counted yet: claimed and perhaps written, but not marked.

  /// All of it, with nothing in hand.
  FilterCounts with(const FilterCounts& more) const {
    return {lines + more.lines, fresh + more.fresh, duplicates + more.duplicates, without_id + more.without_id, 0};
  }
};

/// Shows a filter run's counts on standard error: a line that is rewritten a few times a second where someone is
/// watching (standard error is a terminal and standard output is not), and a summary at the end. One thread.
class FilterReport {
 public:
  /// `without_id` says in the summary what became of lines without an id, e.g. "passed on".
  FilterReport(std::string without_id, bool quiet);

  void progress(const FilterCounts& counts);
  /// A sentence of its own.
  void note(const std::string& sentence);
  void summary(const FilterCounts& counts);

 private:
  using Clock = std::chrono::steady_clock;

  std::string text(const FilterCounts& counts) const;

  std::string without_id_;
  bool quiet_;
  bool watched_;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point shown_ = begin_;
};

}  // namespace oncelog::tool
