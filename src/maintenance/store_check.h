#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <oncelog/verify.h>

#include "base/message_hash.h"
#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "log/record_codec.h"
#include "maintenance/closed_store.h"
#include "maintenance/problems.h"
#include "maintenance/table_check.h"

namespace oncelog::internal {

/// What verify() looks at in data.mdb, read by lmdb::Pages alone. The snapshot may be another one for each call, if it
/// is not older. Used by one thread.
class StoreCheck {
 public:
  /// Called for each intact record.
  using RecordHook = std::function<void(const RecordView&, const MessageHash&, Lsn)>;

  /// `now_us()`: the clock for retention.
  StoreCheck(VerifyReport& report, const VerifyOptions& options, const VerifyProgressHook& progress,
             std::function<std::int64_t()> now_us);

  /// Both meta pages and all pages of the commit. False when LMDB must not follow it.
  bool structure(const lmdb::Pages& pages, const lmdb::Meta& meta);

  /// The small tables but `buckets`. Throws Error::newer_format; not_a_store when there is no table of a store.
  void tables(const lmdb::Pages& pages, const lmdb::Meta& meta);

  /// Some 16 MB of the log's blocks from where the last call ended. False when the snapshot's log has ended.
  bool log(const lmdb::Pages& pages, const lmdb::Meta& meta, const RecordHook& record = {});
  Lsn position() const { return at_; }

  /// Lets log() end with the block that reaches this LSN: writers that are faster than it would keep it busy forever.
  void end_at(Lsn end) { limit_ = end; }

  /// All but structure(), of a commit that stays as it is.
  void rest(const lmdb::Pages& pages, const lmdb::Meta& meta);

  /// The rows, against what log() has seen, and the sealed files that are noted; with the snapshot of its last call.
  void buckets(const lmdb::Pages& pages, const lmdb::Meta& meta);

 private:
  using Rows = std::vector<std::pair<std::uint64_t, BucketRow>>;
  struct Seen {
    std::uint64_t entries = 0;
    std::int64_t newest_us = 0;
    Lsn first;
  };

  Rows rows(const lmdb::Pages& pages, const lmdb::Meta& meta, bool report);
  void block(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, Lsn lsn, const RecordHook& record);
  void records(std::span<const std::byte> bytes, Lsn lsn, const RecordHook& record);
  void check_record(const RecordView& record, Lsn lsn);
  void count(const RecordView& record, Lsn lsn);
  void read_known_since(const lmdb::Pages& pages, const lmdb::Meta& meta);
  bool is_live(std::int64_t time_us) const;

  VerifyReport& report_;
  Problems problems_;
  const VerifyProgressHook progress_;
  const std::function<std::int64_t()> clock_;
  std::int64_t now_us_;  // When the newest snapshot was read: what is no longer in it has expired by then.
  std::size_t page_bytes_ = 0;
  StoreFacts facts_;
  Lsn at_;  // The log is checked below.
  std::optional<Lsn> limit_;
  bool any_block_ = false;
  Rows rows_;                           // Of the newest snapshot.
  std::map<std::uint64_t, Seen> seen_;  // By the bucket's number.
  std::uint64_t homeless_ = 0;          // Live records that belong to no row, and the first of them.
  Lsn first_homeless_;
  std::map<std::uint32_t, Lsn> unknown_scopes_;  // Where each was found first.
  std::vector<std::byte> buffer_;
};

}  // namespace oncelog::internal
