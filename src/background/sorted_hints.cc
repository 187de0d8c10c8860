#include "background/sorted_hints.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <mutex>
#include <numeric>
#include <span>
#include <utility>

#include "background/block_feed.h"
#include "base/crew.h"
#include "log/intact_record.h"

namespace oncelog::internal {
namespace {

/// A table or filter is cut into so many parts. What goes into one is in no order: a part of the largest has no more
/// pages than the TLB has entries.
constexpr std::size_t kParts = 1024;

/// The records in the order of their parts.
template <typename PartOf>
std::vector<CopiedRecord> sorted(std::span<const CopiedRecord> records, PartOf part_of) {
  std::array<std::size_t, kParts + 1> begin{};
  for (const CopiedRecord& record : records) ++begin[part_of(record.hash) + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<CopiedRecord> out(records.size());
  for (const CopiedRecord& record : records) out[begin[part_of(record.hash)]++] = record;
  return out;
}

/// The threads that read one stretch of the log.
class Reading {
 public:
  explicit Reading(const HintSource& source)
      : source_(source),
        correlation_seed_(MessageHash::scope_seed(source.hash_seed, MessageHash::kCorrelationScope)),
        until_(std::chrono::steady_clock::now() + source.most_time),
        limit_(std::min(source.range.to, Lsn{source.range.from.value + source.most_bytes})),
        feed_(source.txn, source.range.from, limit_) {}

  SortedHints run(unsigned threads);

 private:
  /// What one thread has read.
  struct Share {
    std::vector<CopiedRecord> records;
    std::vector<CopiedLink> links;
  };

  void work();
  bool take(const Log::Block& block, Share& share);
  void take(const RecordView& record, const MessageHash& hash, Lsn lsn, Share& share) const;
  void note_read(const BlockFeed::Chunk& chunk);
  void note_damage(Lsn lsn);
  void stop();
  void keep(Share share);

  const HintSource& source_;
  const std::uint64_t correlation_seed_;
  const std::chrono::steady_clock::time_point until_;
  const Lsn limit_;
  BlockFeed feed_;
  std::mutex mutex_;  // Of all that follows.
  bool stopped_ = false;
  Lsn read_;  // The end of what was handed out.
  SortedHints hints_;
};

SortedHints Reading::run(unsigned threads) {
  run_in_crew(threads, "reading the log", [this] { work(); });
  // Chunks are handed out in order, and each is read to its end. A block that is the last may go on beyond the range.
  const Lsn read = std::min(read_, source_.range.to);
  hints_.end = stopped_ ? read : std::max(limit_, read);
  if (source_.for_table) hints_.chains = joined(hints_.links);
  if (!source_.for_filter) hints_.links = {};
  return std::move(hints_);
}

void Reading::work() {
  Share share;
  try {
    for (BlockFeed::Chunk chunk; feed_.next(chunk);) {
      note_read(chunk);
      for (const Log::Block& block : chunk.blocks) {
        if (!take(block, share)) break;
      }
      if (std::chrono::steady_clock::now() >= until_) stop();
    }
  } catch (...) {
    feed_.stop();  // The others need not go on.
    throw;
  }
  keep(std::move(share));
}

/// Returns whether it is whole.
bool Reading::take(const Log::Block& block, Share& share) {
  // A block may begin with records of the bucket before, and these be damaged.
  const std::uint64_t before = std::max(block.lsn, source_.range.begin).value - block.lsn.value;
  return for_each_record(
      block.bytes.subspan(before), Lsn{block.lsn.value + before}, source_.hash_seed,
      [&](const RecordView& record, const MessageHash& hash, Lsn lsn) { take(record, hash, lsn, share); },
      // What the last block has beyond the range is another copy's.
      [&](Lsn lsn, lmdb::Bytes) {
        if (lsn < source_.range.to) note_damage(lsn);
      });
}

/// Void records, too: where one is the newest of a chain, its entry is the one that leads to the others.
void Reading::take(const RecordView& record, const MessageHash& hash, Lsn lsn, Share& share) const {
  if (lsn < source_.range.from || lsn >= source_.range.to) return;
  share.records.push_back({hash, lsn});
  if (const std::string_view correlation = record.correlation(); !correlation.empty()) {
    share.links.push_back({{correlation_seed_, correlation}, lsn, Lsn{record.attributes->previous}});
  }
}

void Reading::note_read(const BlockFeed::Chunk& chunk) {
  const std::lock_guard guard(mutex_);
  read_ = std::max(read_, chunk.blocks.back().end());
}

/// Blocks are handed out in order: those before a damaged one are read to their end, so that the first one is found.
void Reading::note_damage(Lsn lsn) {
  feed_.stop();
  const std::lock_guard guard(mutex_);
  if (hints_.damaged.value == 0 || lsn < hints_.damaged) hints_.damaged = lsn;
}

void Reading::stop() {
  feed_.stop();
  const std::lock_guard guard(mutex_);
  stopped_ = true;
}

/// Sorts what one thread has read: each has runs of its own.
void Reading::keep(Share share) {
  std::vector<HintRun> runs;
  if (source_.for_table) {
    runs.push_back(
        {HintRun::Into::table, sorted(share.records, [](const MessageHash& hash) { return hash.home(kParts); })});
  }
  if (source_.for_filter) {
    runs.push_back(
        {HintRun::Into::filter, sorted(share.records, [](const MessageHash& hash) { return hash.line(kParts); })});
  }
  const std::lock_guard guard(mutex_);
  std::ranges::move(runs, std::back_inserter(hints_.runs));
  std::ranges::move(share.links, std::back_inserter(hints_.links));
}

}  // namespace

std::vector<CopiedLink> joined(std::vector<CopiedLink> links) {
  std::ranges::sort(links, [](const CopiedLink& a, const CopiedLink& b) {
    return std::pair(a.correlation.digest(), a.lsn) < std::pair(b.correlation.digest(), b.lsn);
  });
  std::vector<CopiedLink> chains;
  for (const CopiedLink& link : links) {
    const bool follows =
        !chains.empty() && chains.back().correlation == link.correlation && chains.back().lsn == link.previous;
    if (follows) {
      chains.back().lsn = link.lsn;
    } else {
      chains.push_back(link);
    }
  }
  return chains;
}

SortedHints read_sorted(const HintSource& source, unsigned threads) {
  return Reading(source).run(threads);
}

}  // namespace oncelog::internal
