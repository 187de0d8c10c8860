#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <oncelog/record.h>

#include "base/exported.h"
#include "base/message_hash.h"
#include "log/log_lookup.h"
#include "log/ring.h"
#include "shared/tally.h"
#include "shared/view.h"

namespace oncelog::internal {

/// An id, or a correlation, on its way through a look-up.
struct Probe {
  std::string_view id;
  std::uint32_t scope;
  MessageHash hash;
  MessageHash::Of of = MessageHash::Of::message;
};

/// A record that has the asked scope and id, or the asked correlation, byte for byte.
struct Found {
  Lsn lsn;
  std::int64_t time_us;  // When it was processed.
  std::uint32_t flags;
  std::uint64_t previous;  // In its correlation's chain.

  /// It is a processed message: neither a note that one is forgotten, nor of a transaction that is not committed.
  bool is_message() const { return (flags & (kForgotten | kUncommitted | kVoid)) == 0; }
  bool uncommitted() const { return (flags & kUncommitted) != 0; }
  bool has_attributes() const { return (flags & kHasAttributes) != 0; }
};

/// A whole record, copied while it was looked up, so that it is read once; empty when it has no attributes, of which
/// Found says all.
struct RecordCopy {
  std::vector<std::uint64_t> words;

  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(words)); }
};

/// What one thread needs to look ids up without a lock: the view it holds, and a parked LMDB read transaction with its
/// reader slot, in its LogLookup. Used by one thread at a time. Finds the newest record of an id, whatever its age:
/// retention is the caller's.
class Reader {
 public:
  Reader(const lmdb::Env& env, const Log& log, BlockDirectory& directory, const SharedHeader& live, Ring ring,
         ViewCache& views);

  /// The view of the newest layout; the reference holds until the next call. One comparison when nothing has changed.
  const View& view() {
    if (!view_ || view_->epoch != live_.layout.epoch()) [[unlikely]]
      view_ = views_.newest();
    return *view_;
  }
  /// Lets go of the view, when the thread goes.
  void drop_view() { view_.reset(); }

  /// The newest record of the probe. Costs one cache miss when the filter knows nothing of it, two
  /// more and the record when it does. `copy`, where it is wanted, gets the record that is found.
  ONCELOG_INTERNAL std::optional<Found> look(const View& view, const Probe& probe, RecordCopy* copy = nullptr);

  /// look() for many at once, their cache misses overlapped; out[i] for probes[i]. The caller has prefetched the
  /// filter's lines. `copies` are as many, or none.
  ONCELOG_INTERNAL void look(const View& view, std::span<const Probe> probes, std::span<std::optional<Found>> out,
                             std::span<RecordCopy> copies = {});

  /// The newest record at or above `floor`, from the index alone. For the holder of the store's mutex: only looks into
  /// the ring. Sets `passed` and finds nothing when the ring has gone past one it would have to look at.
  std::optional<Found> look_again(const View& view, const Probe& probe, Lsn floor, bool& passed,
                                  RecordCopy* copy = nullptr);

  /// Copies a whole record out of the ring or the log; false when it is gone. Not checked but for its lengths.
  bool copy(Lsn lsn, std::vector<std::byte>& out);

  /// Where the log ends in the newest commit.
  Lsn log_end();

  /// For other reads of the same thread, while none of the above runs.
  lmdb::ReadTxn& txn() { return log_.txn(); }

  ThreadTally counters;
  std::vector<std::uint64_t> scratch;  // For the encoding of large records.

 private:
  using Snapshot = std::optional<LogLookup::Snapshot>;

  template <typename Visit>
  void each_hint(const View& view, const Probe& probe, LaneMask lanes, Visit visit) const;
  std::optional<Found> follow_in_ring(Lsn lsn, const Probe& probe, RecordCopy* copy, bool& passed) const;
  std::optional<std::size_t> read_for(const Probe& probe, Lsn lsn, std::size_t limit, RecordBuffer& buffer) const;
  std::optional<Found> follow(Lsn lsn, const Probe& probe, RecordCopy* copy, Snapshot& snapshot, bool& renewed);
  std::optional<Found> compare_in_log(lmdb::Bytes bytes, Lsn lsn, const Probe& probe, RecordCopy* copy) const;
  /// Both set `renewed` when they have taken another snapshot: bytes found in the one before are no longer to be
  /// touched.
  std::optional<lmdb::Bytes> find_in_log(Lsn lsn, const LogLookup::Guess& guess, Snapshot& snapshot, bool& renewed);
  std::optional<Found> compare(lmdb::Bytes bytes, Lsn lsn, const Probe& probe) const;

  const SharedHeader& live_;
  const Ring ring_;
  ViewCache& views_;
  std::shared_ptr<const View> view_;
  const std::filesystem::path& path_;
  LogLookup log_;
};

}  // namespace oncelog::internal
