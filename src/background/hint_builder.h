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

/// Reads the log into the index tables and the filter of shared memory that nobody else sees yet. A bucket whose row
/// said too little of it gets more tables and generations. For one thread. Throws Error::corrupt where a record is
/// damaged, full where a bucket has more records than an index can hold.
class HintBuilder {
 public:
  /// `layout` is in force, and names files that are made and empty; what is added to it is published.
  HintBuilder(const lmdb::Env& env, const Log& log, std::uint64_t hash_seed, const SharedState& live, ViewCache& files,
              Layout& layout);

  /// Reads all that the layout's buckets hold; the log has a block. Notes the newest record's time.
  void run();

 private:
  /// A record whose hints are still to be added.
  struct Pending {
    MessageHash hash;
    Lsn lsn;
    std::optional<MessageHash> correlation;
    Lsn previous;  // Of its chain.
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
  unsigned bucket_ = 0;  // That of the record inserted last.
  std::int64_t newest_us_ = 0;
  std::vector<Pending> batch_;
};

}  // namespace oncelog::internal
