#include "background/bucket_fill.h"

#include <algorithm>
#include <optional>

#include "base/crew.h"
#include "base/error.h"
#include "log/intact_record.h"

namespace oncelog::internal {

/// What one thread does of a BucketFill.
class FillWorker {
 public:
  explicit FillWorker(BucketFill& fill) : fill_(fill), target_(fill.target_) { batch_.reserve(kBatch); }

  void take(const BlockFeed::Chunk& chunk);

  const BucketFill::Needed& needed() const { return needed_; }

 private:
  /// A record whose hints are still to be added.
  struct Pending {
    MessageHash hash;
    Lsn lsn;
  };
  /// A record of a chain, and the one before it.
  struct Link {
    MessageHash correlation;
    Lsn lsn;
    Lsn previous;
  };
  static constexpr std::size_t kBatch = 32;  // Their cache misses overlap.

  void take(const RecordView& record, const MessageHash& hash, Lsn lsn);
  void add_batch();
  void add_links();
  void add_link(const Link& link);
  void insert(const MessageHash& hash, MessageHash::Of of, Lsn lsn);
  std::uint64_t offset(Lsn lsn) const { return (lsn.value - target_.first_lsn.value) / kRecordUnit; }

  BucketFill& fill_;
  const BucketFill::Target& target_;
  std::vector<Pending> batch_;
  std::vector<Link> links_;  // Of one chunk, in the log's order.
  BucketFill::Needed needed_;
};

void FillWorker::take(const BlockFeed::Chunk& chunk) {
  InOrder::Piece piece(fill_.order_, chunk.number);
  for (const Log::Block& block : chunk.blocks) {
    const bool whole = for_each_record(
        block.bytes, block.lsn, fill_.source_.hash_seed,
        [this](const RecordView& record, const MessageHash& hash, Lsn lsn) { take(record, hash, lsn); },
        [this](Lsn lsn, lmdb::Bytes) { fill_.note_damage(lsn); });
    if (!whole) return;
  }
  add_batch();
  if (links_.empty()) return;
  if (piece.wait_for_turn()) add_links();
}

void FillWorker::take(const RecordView& record, const MessageHash& hash, Lsn lsn) {
  needed_.newest_us = std::max(needed_.newest_us, record.header.time_us());
  if (lsn < fill_.source_.from || lsn >= fill_.source_.to) return;
  // Void records are no messages, but links of chains all the same: the next one's entry may have moved on from theirs.
  if ((record.header.flags() & kVoid) == 0) {
    target_.slots.prefetch(hash);
    target_.bits.prefetch(hash);
    batch_.push_back({hash, lsn});
  }
  if (const std::string_view correlation = record.correlation(); !correlation.empty()) {
    links_.push_back({{fill_.correlation_seed_, correlation}, lsn, Lsn{record.attributes->previous}});
    target_.bits.prefetch(links_.back().correlation);
  }
  if (batch_.size() == kBatch) add_batch();
}

void FillWorker::add_batch() {
  needed_.records += batch_.size();
  needed_.ids += batch_.size();
  if (fill_.reserve(batch_.size())) {
    for (const Pending& pending : batch_) {
      target_.bits.add(pending.hash);
      insert(pending.hash, MessageHash::Of::message, pending.lsn);
    }
  }
  batch_.clear();
}

void FillWorker::add_links() {
  constexpr std::size_t kAhead = 8;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (i + kAhead < links_.size()) target_.slots.prefetch(links_[i + kAhead].correlation);
    add_link(links_[i]);
  }
  needed_.ids += links_.size();
  links_.clear();
}

/// One entry for each chain and table: the chain's newest record leads to the others.
void FillWorker::add_link(const Link& link) {
  target_.bits.add(link.correlation);
  const bool moved =
      link.previous.value != 0 && link.previous >= target_.first_lsn &&
      target_.slots.move(link.correlation, MessageHash::Of::correlation, offset(link.previous), offset(link.lsn));
  if (!moved && fill_.reserve(1)) insert(link.correlation, MessageHash::Of::correlation, link.lsn);
}

/// Needs a reserved entry.
void FillWorker::insert(const MessageHash& hash, MessageHash::Of of, Lsn lsn) {
  // There is room, unless a table that was filled before has more entries than it says.
  const bool added = target_.slots.insert(hash, of, offset(lsn));
  if (!added) fill_.overflows_.store(true, std::memory_order_relaxed);
}

BucketFill::BucketFill(const Source& source, const Target& target)
    : source_(source),
      target_(target),
      correlation_seed_(MessageHash::scope_seed(source.hash_seed, MessageHash::kCorrelationScope)),
      feed_(source.txn, source.from, source.to) {}

void BucketFill::run(unsigned threads) {
  run_in_crew(threads, "rebuilding the index", [this] { work(); });
  if (damaged_.value != 0) {
    throw error_at(ErrorCode::corrupt, source_.directory, "the record at LSN {} of data.mdb is damaged",
                   damaged_.value);
  }
  needed_.entries = entries_.load(std::memory_order_relaxed);
}

void BucketFill::work() {
  FillWorker worker(*this);
  try {
    for (BlockFeed::Chunk chunk; feed_.next(chunk);) worker.take(chunk);
  } catch (...) {
    feed_.stop();  // The others need not go on, nor wait for what this one has left.
    order_.give_up();
    throw;
  }
  const std::lock_guard guard(mutex_);
  needed_.records += worker.needed().records;
  needed_.ids += worker.needed().ids;
  needed_.newest_us = std::max(needed_.newest_us, worker.needed().newest_us);
}

/// Whether there is room for so many more. Counts them anyway, so that in the end it is known how many there are.
bool BucketFill::reserve(std::uint64_t entries) {
  const std::uint64_t before = entries_.fetch_add(entries, std::memory_order_relaxed);
  const bool fits = before + entries <= target_.room;
  if (!fits) overflows_.store(true, std::memory_order_relaxed);
  return fits;
}

/// Blocks are handed out in order: those before a damaged one are read to their end, so that the first one is found.
void BucketFill::note_damage(Lsn lsn) {
  feed_.stop();
  const std::lock_guard guard(mutex_);
  if (damaged_.value == 0 || lsn < damaged_) damaged_ = lsn;
}

}  // namespace oncelog::internal
