#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "background/bucket_seal.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/shared_state.h"
#include "shared/view.h"

namespace oncelog::internal {

/// Puts the hints of buckets on disk, so that after a reboot they are read from there and not made from the log. A
/// bucket that is no longer written is sealed as a whole; the current one up to an LSN, and again when it has grown
/// much.
///
/// The order is: both files, synced; their names, synced; the note in data.mdb. So a note never names what is not
/// there, and a death anywhere leaves at most files that no note names, which the next seal deletes. Files are never
/// changed, and are deleted only after their note. Because hints are only ever added, they are copied without a lock:
/// what is complete up to an LSN stays so. What a copy may name beyond its end must not be lost by a power failure,
/// because an entry of a correlation may have moved on to it; so it is noted once all of that is in the log.
///
/// Where the shared memory lies in the store's directory, too, a sealed table takes the place of the one that it was
/// copied from, so that the disk has it once.
///
/// For one thread, the background's: it takes the writer gate for the commit alone. One process at a time seals a
/// store; it has the store's directory locked (flock).
class Sealer {
 public:
  struct Places {
    std::filesystem::path store;
    std::filesystem::path live;
    Uuid store_file_id;
  };

  /// Reads the notes.
  Sealer(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& state, ViewCache& views,
         const Clock& clock, Places places);

  /// Whether step() has something to do, as far as this process knows the notes. Some loads.
  bool due();
  /// One bounded step: 1 MiB copied, or a sync of what is on its way to the disk already, or a commit. Returns whether
  /// there is more to do now. After an error it is not due for a while; a disk without room for more than the files is
  /// Error::full. A directory in which this process may make no files is no error: nothing is sealed then.
  bool step() EXCLUDES(kWriterGate, kStoreMutex);

  /// Fewer entries than this are made from the log in moments.
  static constexpr std::uint64_t kLeastEntries = 16'384;
  /// A bucket that is written is sealed again when this many entries, and half as many as are sealed, have come; when
  /// it is quiet, an eighth is enough. So in all it is copied some three times, or eight times where it comes to rest
  /// over and over.
  static constexpr std::uint64_t kMuchEntries = 1'000'000;
  static constexpr std::uint64_t kBusyShare = 2;
  static constexpr std::uint64_t kQuietShare = 8;
  static constexpr std::int64_t kQuietUs = 2'000'000;

 private:
  using Notes = std::vector<std::pair<std::uint64_t, SealedNote>>;
  static constexpr std::int64_t kRetryUs = 10'000'000;
  static constexpr std::int64_t kForbiddenUs = std::int64_t{3600} * 1'000'000;

  /// What has been seen of the current bucket.
  struct Seen {
    std::uint64_t bucket = 0;
    std::uint64_t entries = 0;
    std::int64_t since_us = 0;
  };

  bool advance();
  void begin();
  void end();
  bool lock();
  void read_notes();
  void read_notes(const lmdb::Txn& txn);
  void watch(const View& view, std::int64_t now_us);
  std::optional<SealedNote> note_of(const BucketInfo& bucket) const;
  bool litter(const Layout& layout) const;
  std::optional<BucketSeal::Plan> next(const View& view, Lsn flushed) const;
  bool wants(const View& view, unsigned position, Lsn flushed) const;
  bool wants_current(const View& view, const std::optional<SealedNote>& note) const;
  bool can_replace(const View& view, unsigned position) const;
  bool replaces(const View& view) const;
  std::optional<std::uint64_t> intact_replacement();
  void replace_tables();
  bool on_disk() const;
  void commit();
  void remove_unnamed() const;

  const lmdb::Env& env_;
  const Log& log_;
  const Catalog& catalog_;
  const SharedState& state_;
  SharedHeader& live_;
  const std::uint64_t ring_bytes_;
  ViewCache& views_;
  const Clock& clock_;
  const Places places_;

  ParentsDescriptor lock_;
  std::optional<BucketSeal> seal_;
  std::optional<Lsn> head_;           // Once all is copied: everything that the copies may name is below.
  std::optional<lmdb::ReadTxn> txn_;  // Kept: see ReadTxn on what making one takes.
  std::set<std::uint64_t> unusable_;  // Buckets whose noted table is not what the note says: they are sealed anew.
  Notes notes_;                       // As they were when this process began to seal, or had sealed.
  bool foreign_notes_ = false;
  std::int64_t try_from_us_ = 0;  // A boot time.
  Seen seen_;
};

}  // namespace oncelog::internal
