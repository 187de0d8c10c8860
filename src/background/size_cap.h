#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "base/store_locks.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "log/ring.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Keeps data.mdb below Options::max_bytes: each commit deletes as many blocks as the next one will need room for.
///
/// The pages that a commit frees can be used again from the second commit after it on; until then data.mdb grows where
/// no other page is free. The file stays below the cap if each commit begins with as many usable pages, counting those
/// by which the file may still grow, as it can possibly take. So each commit deletes enough for the next one of its
/// size, and also for one that writes all that may wait in the ring: a transaction's commit is bound to its records and
/// can neither be put off nor cut into pieces, and nor can the commit that saves a ring. A commit that is larger than
/// those before it is preceded by others that only delete. Blocks have one page (see write_log), so that a free page
/// serves wherever it is; only a record that is larger than a page needs several in a row.
///
/// Everything but start() is called under the writer gate. Cost without a cap: one relaxed load.
class SizeCap {
 public:
  /// Blocks in one commit. Under a cap a block has one page.
  static constexpr std::size_t kMostGivenBack = std::size_t{16} * 256;

  SizeCap(const lmdb::Env& env, const Log& log, const Catalog& catalog, const SharedState& live)
      : env_(env), log_(log), catalog_(catalog), live_(live.header()), ring_(live.ring()) {}

  /// The cap is obeyed from then on. `drop_early` is Upkeep::drop_early; `uncounted_pages` returns how many pages the
  /// cap does not count. A null `drop_early` turns the cap off.
  void start(std::function<bool()> drop_early, std::function<std::uint64_t(const lmdb::Txn&)> uncounted_pages);

  /// What the cap leaves to a commit.
  struct Room {
    bool enough;              // Whether there are free pages for it and for one that writes all that may wait.
    std::uint64_t pages;      // Pages that it may take.
    std::uint64_t log_pages;  // Pages that the log may have after it, so that the next one finds enough as well.
  };

  /// To be called first in a commit that is to write `bytes` of records. Where they, or all that may wait after them,
  /// might not find enough free pages, makes commits that only delete; `txn` is then another transaction. Returns
  /// nothing without a cap.
  std::optional<Room> make_room(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes) REQUIRES(kWriterGate);

  /// Deletes the oldest blocks, and has their buckets forgotten, until the log has at most `log_pages` pages or nothing
  /// is left to delete. Returns how many blocks it deleted, at most kMostGivenBack.
  std::size_t give_back(lmdb::WriteTxn& txn, std::uint64_t log_pages) REQUIRES(kWriterGate);

  /// Notes the longest of a transaction's records [from, to): the next transaction may have one as long.
  void note_records(Lsn from, Lsn to) const;

 private:
  /// The records that are larger than a page, in pages. LMDB stores each in a run of pages in a row.
  struct Runs {
    std::uint64_t pages = 0;
    std::uint64_t longest = 1;
  };

  std::uint64_t most_pages_of(std::uint64_t bytes) const;
  Runs waiting_runs() const;
  Runs runs_in(Lsn at, Lsn end) const;
  Runs note_runs(const Runs& runs) const;
  std::optional<Room> room_for(const lmdb::WriteTxn& txn, std::uint64_t bytes) REQUIRES(kWriterGate);
  bool wait_for_readers(std::optional<lmdb::WriteTxn>& txn, std::uint64_t snapshot) REQUIRES(kWriterGate);

  const lmdb::Env& env_;
  const Log& log_;
  const Catalog& catalog_;
  SharedHeader& live_;
  const Ring ring_;
  std::function<bool()> drop_early_;
  std::function<std::uint64_t(const lmdb::Txn&)> uncounted_pages_;
  std::optional<lmdb::FreeList> free_list_ GUARDED_BY(kWriterGate);
  std::uint64_t waited_for_ GUARDED_BY(kWriterGate) = 0;  // The newest snapshot whose end was waited for in vain.
};

}  // namespace oncelog::internal
