#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/message_hash.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Fills the index tables and the filter of new shared memory, which no other process sees yet, from the log. A bucket
/// with more records than its row says gets more tables and generations. For one thread. Throws Error::corrupt at a
/// damaged record, and full if a bucket has more records than an index can hold.
class HintBuilder {
 public:
  /// `layout` is in force, and its files are made and empty. Files that are added are added to it and published.
  HintBuilder(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& live, ViewCache& files,
              Layout& layout);

  /// Adds the records of all buckets in the layout, and notes the newest record's time. The log must have a block.
  void run();

 private:
  /// A record whose hints are still to be added.
  struct Pending {
    MessageHash hash;
    Lsn lsn;
    std::optional<MessageHash> correlation;
    Lsn previous;  // The record before it in its chain.
  };
  static constexpr std::size_t kBatch = 32;  // Their cache misses overlap.

  void take(const RecordView& record, const MessageHash& hash, Lsn lsn);
  void insert_batch();
  void insert(const Pending& pending);
  void make_room(Lsn lsn);
  void publish();

  const lmdb::Env& env_;
  const Log& log_;
  const std::uint64_t hash_seed_;
  const std::uint64_t correlation_seed_;
  SharedHeader& live_;
  ViewCache& files_;
  Layout& layout_;
  std::shared_ptr<const View> view_;
  unsigned bucket_ = 0;  // The bucket of the last inserted record.
  std::int64_t newest_us_ = 0;
  std::vector<Pending> batch_;
};

}  // namespace oncelog::internal
