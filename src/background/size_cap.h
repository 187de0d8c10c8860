#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "log/ring.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Room under Options::max_bytes: keeps data.mdb below the cap by deleting, in each commit, as much as the next one
/// will need.
///
/// Pages that a commit frees can be used again from the second commit after it on, and before that data.mdb grows where
/// none is free. It stays below the cap when each commit begins with as many usable pages (and pages by which the file
/// may still grow) as it can possibly take. So each one deletes so much that this holds for the next one of its size,
/// and, beside that, for one of all that may wait: a transaction's is bound to its records, and cannot be put off or
/// cut into pieces, nor can the one that saves the ring. A commit that is larger than those before it has others
/// precede it that write nothing. Blocks are of one page (see write_log), so that a free page serves wherever it is;
/// only records that are larger than that need some in a row.
///
/// Thread safety: everything but start() under the writer gate. Cost without a cap: one relaxed load.
class SizeCap {
 public:
  static constexpr std::size_t kMostGivenBack = 16 * 256;  // In one commit. The blocks are of a page or less.

  SizeCap(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live)
      : env_(env), log_(log), catalog_(catalog), live_(live.header()), ring_(live.ring()) {}

  /// Before that no cap is in force. `drop_early` is Upkeep::drop_early, none without a cap; `uncounted_pages` are
  /// those that a cap does not count.
  void start(std::function<bool()> drop_early, std::function<std::uint64_t(const lmdb::Txn&)> uncounted_pages);

  /// What a cap leaves to a commit.
  struct Room {
    bool enough;              // Free pages, for it and for one of all that may wait.
    std::uint64_t pages;      // That it may take.
    std::uint64_t log_pages;  // That the log may have after it, so that there will be enough for the next as well.
  };

  /// Before anything else, of a commit that is to write so many bytes of records: where a cap is in force, and they, or
  /// all that may wait after them, might not find enough free pages, makes commits that only give pages back; then
  /// `txn` is another one. Nothing without a cap.
  std::optional<Room> make_room(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes);

  /// Deletes the oldest blocks, and has buckets forgotten for that, until the log has no more than so many pages, or
  /// nothing is left to delete. Returns how many blocks, at most kMostGivenBack.
  std::size_t give_back(lmdb::WriteTxn& txn, std::uint64_t log_pages);

  /// Notes how long the longest of a transaction's records [from, to) is, for the next one to expect.
  void note_records(Lsn from, Lsn to) const;

 private:
  /// Of the records that wait and are larger than a page.
  struct Runs {
    std::uint64_t pages = 0;
    std::uint64_t longest = 1;
  };

  std::uint64_t most_pages_of(std::uint64_t bytes) const;
  Runs waiting_runs() const;
  Runs runs_in(Lsn at, Lsn end) const;
  Runs note_runs(const Runs& runs) const;
  std::optional<Room> room_for(const lmdb::WriteTxn& txn, std::uint64_t bytes);
  bool wait_for_readers(std::optional<lmdb::WriteTxn>& txn, std::uint64_t snapshot);

  const lmdb::Env& env_;
  const Log& log_;
  const Catalog& catalog_;
  SharedHeader& live_;
  const Ring ring_;
  std::function<bool()> drop_early_;
  std::function<std::uint64_t(const lmdb::Txn&)> uncounted_pages_;
  // Under the gate.
  std::optional<lmdb::FreeList> free_list_;
  std::uint64_t waited_for_ = 0;  // A snapshot whose end was waited for in vain.
};

}  // namespace oncelog::internal
