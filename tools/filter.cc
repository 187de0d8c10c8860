#include "filter.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <oncelog/claim.h>
#include <oncelog/error.h>

#include "filter_report.h"
#include "line_reader.h"
#include "output.h"
#include "stop_signal.h"

namespace oncelog::tool {
namespace {

using std::chrono::milliseconds;

/// How many ids are claimed at once: what a death repeats, and what another filter waits for. More than some hundred
/// are not faster.
constexpr std::size_t kMostClaims = 1024;
/// How many at first, and again after an id that another filter holds: the two are at the same place then, and what the
/// one claims ahead keeps the other waiting.
constexpr std::size_t kFirstClaims = 64;

/// Never expires: a filter may wait for its reader for as long as it likes, and its death frees its claims.
constexpr milliseconds kLease = std::chrono::hours{24 * 365 * 100};

/// How long the stop signal may go unnoticed while another process is waited for.
constexpr milliseconds kPatience{100};
/// How long a wait is before a person should know what is waited for.
constexpr std::chrono::seconds kQuietWait{5};

/// The lines of one read, and the ids of those that have one, both in input order.
struct Batch {
  struct Line {
    std::string_view text;
    bool has_id;
  };

  std::vector<Line> lines;
  std::vector<std::string_view> ids;
  std::size_t next_line = 0;
  std::size_t next_id = 0;
  bool failed = false;  // The line after the last has no id, and OnError::fail says to end there.

  bool done() const { return next_line == lines.size(); }
};

/// Where the duplicates go, if anywhere: not among the store's own files, which appending would destroy, and not among
/// the lines that are passed on.
std::unique_ptr<Output> open_duplicates(const FilterOptions& options, const Output& passed) {
  namespace fs = std::filesystem;
  if (options.duplicates.empty()) return nullptr;
  const auto refuse = [&](std::string_view reason) {
    throw Error(ErrorCode::invalid_argument, fmt::format("--duplicates: '{}' {}", options.duplicates.string(), reason));
  };
  if (options.duplicates == "-")
    refuse("would mix them with what is passed on; name a file, or ./- for one of that name");
  std::error_code no_path;  // A pipe that is named by /dev/fd has none, and is in no directory.
  const fs::path file = fs::weakly_canonical(fs::absolute(options.duplicates), no_path);
  const fs::path store = fs::weakly_canonical(fs::absolute(options.store.directory) / ".");
  if (!no_path && std::ranges::mismatch(store, file).in1 == store.end()) {
    refuse(fmt::format("is inside of the store '{}'; name a file elsewhere", options.store.directory.string()));
  }
  auto output = std::make_unique<Output>(options.duplicates, options.lines.end);
  if (output->is_same_as(passed)) refuse("is standard output, to which lines are passed on; name another file");
  if (output->is_read_by(STDIN_FILENO)) refuse("is the file that is read, which would never end; name another file");
  return output;
}

class Filter {
 public:
  explicit Filter(const FilterOptions& options)
      : options_(options),
        extractor_(options.id, options.lines.end),
        output_(standard_output(options.lines.end)),
        duplicates_(open_duplicates(options, output_)),
        store_(open_for_marks(options.store)),
        scope_(store_.scope(options.store.scope)),
        report_(options.on_error == OnError::pass ? "passed on" : "dropped", options.quiet),
        reader_(STDIN_FILENO, "standard input", stop_, options.lines) {}

  int run() {
    try {
      std::vector<std::string_view> lines;
      while (reader_.next(lines)) {
        extract(lines);
        while (!batch_.done() && pass_some()) {
        }
        if (options_.store.ack == Ack::disk && newest_.value != 0) {
          stop_.end_at_once();
          store_.wait(newest_);
          stop_.end_in_order();
        }
        if (!batch_.done()) break;
        if (batch_.failed) refuse_next_line();
        report_.progress(counts_);
      }
      stop_.end_at_once();
      store_.sync();  // Closing the store writes as well, but could not report an error.
    } catch (...) {
      report_.summary(counts_);
      throw;
    }
    report_.summary(counts_);
    return stop_.received() == 0 ? 0 : 128 + stop_.received();
  }

 private:
  void extract(std::span<const std::string_view> lines) {
    batch_.lines.clear();
    batch_.ids.clear();
    batch_.next_line = batch_.next_id = 0;
    extractor_.forget();
    for (const std::string_view& line : lines) {
      // What a quote that is never closed has swallowed must not be dropped with the id before it.
      const bool swallowed = reader_.ends_in_open_quotes() && &line == &lines.back();
      const std::optional<std::string_view> id = swallowed ? std::nullopt : extractor_.extract(line);
      if (!id && options_.on_error == OnError::fail) {
        batch_.failed = true;
        return;
      }
      batch_.lines.push_back({line, id.has_value()});
      if (id) batch_.ids.push_back(*id);
    }
  }

  /// Claims some of the batch's next ids, writes their lines, and marks them: in this order, so that there is no moment
  /// at which a death could lose a line. Where another process holds the next id, waits until it is free; returns false
  /// when the stop comes first.
  bool pass_some() {
    std::optional<ClaimBatch> claims = claim_some();
    if (!claims) return false;
    // What comes after an id that another filter holds is released before anything else: two filters that held some ids
    // and waited for more would wait forever.
    const auto asked = claims->verdicts();
    const auto mine = static_cast<std::size_t>(std::ranges::find(asked, Verdict::in_progress) - asked.begin());
    const bool all_mine = mine == asked.size();
    claims->abandon_from(mine);

    FilterCounts counts = sort(claims->verdicts());
    counts_.in_hand = counts.fresh;
    output_.flush();
    if (duplicates_) duplicates_->flush();
    if (options_.store.ack == Ack::disk) {
      // Before the marks, which must not outlive the lines.
      output_.sync();
      if (duplicates_) duplicates_->sync();
    }
    newest_ = std::max(newest_, claims->complete());
    counts_ = counts_.with(counts);

    most_claims_ = all_mine ? std::min(2 * most_claims_, kMostClaims) : kFirstClaims;
    return all_mine || wait_for_next_id();
  }

  /// Claims of the batch's next ids, as many as can be had; nothing when there are none until the stop.
  std::optional<ClaimBatch> claim_some() {
    const auto left = std::span(std::as_const(batch_.ids)).subspan(batch_.next_id);
    std::size_t count = std::min(left.size(), most_claims_);
    for (;;) {
      try {
        return scope_.begin(left.first(count), kLease);
      } catch (const Error& error) {
        // The disk may be full as well as the claims; then a flush has failed.
        if (error.code() != ErrorCode::full || !store_.metrics().last_error.empty()) throw;
      }
      if (count > 1) {
        count /= 2;
        continue;
      }
      // Others hold all claims that the store has room for, and nothing signals when one becomes free.
      pollfd stopped = {stop_.descriptor(), POLLIN, 0};
      ::poll(&stopped, 1, static_cast<int>(kPatience.count()));
      if (stop_.received() != 0) return std::nullopt;
    }
  }

  /// Hands the lines of the ids that the verdicts are for, and those without an id up to the next one, to the outputs.
  FilterCounts sort(std::span<const Verdict> verdicts) {
    FilterCounts counts;
    const std::size_t first = batch_.next_line;
    for (; !batch_.done(); ++batch_.next_line) {
      const Batch::Line& line = batch_.lines[batch_.next_line];
      if (!line.has_id) {
        ++counts.without_id;
        if (options_.on_error == OnError::pass) output_.add(line.text);
        continue;
      }
      if (verdicts.empty()) break;
      if (verdicts.front() == Verdict::fresh) {
        ++counts.fresh;
        output_.add(line.text);
      } else {
        ++counts.duplicates;
        if (duplicates_) duplicates_->add(line.text);
      }
      verdicts = verdicts.subspan(1);
      ++batch_.next_id;
    }
    counts.lines = batch_.next_line - first;
    return counts;
  }

  bool wait_for_next_id() {
    const auto begin = std::chrono::steady_clock::now();
    bool reported = options_.quiet;
    while (!scope_.wait_until_free(batch_.ids[batch_.next_id], kPatience)) {
      if (stop_.received() != 0) return false;
      if (reported || std::chrono::steady_clock::now() - begin < kQuietWait) continue;
      report_.note(fmt::format("line {} waits for another process, which has claimed its id; see oncelog claims",
                               counts_.lines + 1));
      reported = true;
    }
    return true;
  }

  [[noreturn]] void refuse_next_line() const {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("line {} of standard input has no id; correct it, or choose --on-error pass or drop",
                            counts_.lines + 1));
  }

  const FilterOptions& options_;
  IdExtractor extractor_;
  Output output_;
  std::unique_ptr<Output> duplicates_;

  const Store store_;
  const Scope scope_;
  StopSignal stop_;  // While the files and the store are opened, a signal simply ends the process.
  FilterReport report_;
  FilterCounts counts_;
  LineReader reader_;
  Batch batch_;
  std::size_t most_claims_ = kFirstClaims;
  Lsn newest_;  // Of the records that stand for the lines so far.
};

}  // namespace

int run_filter(const FilterOptions& options) {
  if (standard_output(options.lines.end).is_read_by(STDIN_FILENO)) {
    throw Error(ErrorCode::invalid_argument,
                "standard output is the file that is read, which might never end; write to another file");
  }
  return Filter(options).run();
}

}  // namespace oncelog::tool
