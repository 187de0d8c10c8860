#include "background/size_cap.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "background/log_writer.h"
#include "window/buckets.h"

namespace oncelog::internal {
namespace {

/// The number of the commit before this transaction.
std::uint64_t newest_commit(const lmdb::WriteTxn& txn) {
  return mdb_txn_id(txn.get()) - 1;
}

}  // namespace

void SizeCap::start(std::function<bool()> drop_early, std::function<std::uint64_t(const lmdb::Txn&)> uncounted_pages) {
  drop_early_ = std::move(drop_early);
  uncounted_pages_ = std::move(uncounted_pages);
}

/// The most pages that a commit of so many bytes takes. Of two neighbouring blocks the first had no room for the
/// second's first record, so that blocks are at least half full on average.
std::uint64_t SizeCap::most_pages_of(std::uint64_t bytes) const {
  constexpr std::uint64_t kTreePages = 16;    // The trees' changed pages: both ends of the log, rows, the free list.
  constexpr std::uint64_t kBlocksALeaf = 64;  // Entries of a leaf, at least, where blocks have pages of their own.
  const std::uint64_t blocks = bytes == 0 ? 0 : 2 * bytes / Log::max_block_bytes(env_, 1) + 1;
  return blocks + blocks / kBlocksALeaf + kTreePages;
}

SizeCap::Runs SizeCap::waiting_runs() const {
  // Acquire: pair with the release in GroupCommit::publish and the producers' release of head.
  const Lsn flushed{live_.marks.flushed.load(std::memory_order_acquire)};
  return runs_in(flushed, Lsn{live_.marks.head.load(std::memory_order_acquire)});
}

SizeCap::Runs SizeCap::runs_in(Lsn at, Lsn end) const {
  const std::uint64_t page = env_.page_bytes();
  Runs runs;
  while (at < end) {
    const RecordHeader header = ring_.stable_header(at);
    if (!header.well_formed() || header.bytes() > end.value - at.value) break;  // Reported when it is written.
    if (const std::uint64_t pages = (header.bytes() + Log::kRunHeaderBytes + page - 1) / page; pages > 1) {
      runs.pages += pages;
      runs.longest = std::max(runs.longest, pages);
    }
    at.value += header.bytes();
  }
  return runs;
}

/// Returns what a transaction has to expect whose own records are not known yet: the longest of all processes' records
/// so far, among them those of `runs`.
SizeCap::Runs SizeCap::note_runs(const Runs& runs) const {
  // At most what may wait at all: damage must not make the store forget everything.
  const std::uint64_t most = ring_.lent_bytes() / env_.page_bytes() + 1;
  const std::uint64_t before = std::min(live_.longest_run.load(std::memory_order_relaxed), most);
  const std::uint64_t longest = std::max(before, runs.longest);
  live_.longest_run.store(longest, std::memory_order_relaxed);
  return {2 * longest, longest};
}

void SizeCap::note_records(Lsn from, Lsn to) const {
  if (ring_.capped()) note_runs(runs_in(from, to));
}

std::optional<SizeCap::Room> SizeCap::room_for(const lmdb::WriteTxn& txn, std::uint64_t bytes) {
  const std::uint64_t cap = live_.max_bytes.load(std::memory_order_relaxed);  // Relaxed: see SharedHeader.
  if (cap == 0 || !drop_early_) return std::nullopt;
  const auto less = [](std::uint64_t from, std::uint64_t by) { return from - std::min(from, by); };
  const std::uint64_t capped = cap / env_.page_bytes();
  const std::uint64_t growth = less(capped + uncounted_pages_(txn), env_.used_bytes() / env_.page_bytes());
  const std::uint64_t now = most_pages_of(bytes);
  const std::uint64_t later = most_pages_of(ring_.lent_bytes());
  Runs runs;
  if (growth < now + later) {
    runs = waiting_runs();
    const Runs expected = note_runs(runs);
    if (bytes == 0) runs = expected;
  }
  if (!free_list_) free_list_.emplace(env_);
  const auto oldest = env_.oldest_snapshot();
  const bool pinned = oldest && *oldest < newest_commit(txn);
  const auto free = free_list_->pages(oldest, runs.longest);
  // The next commit cannot use what this one frees, which is about as much as it takes.
  const std::uint64_t kept_free = later + 2 * now;
  // The log does not grow into pages that user tables have freed either: they may need them again.
  const std::uint64_t log_now = log_.pages(txn);
  const std::uint64_t log_pages =
      std::min(less(log_now + free.all + growth, kept_free), less(capped, kept_free + most_pages_of(0)));
  if (runs.longest > 1 && free.in_runs < runs.pages && growth < runs.pages + now) {
    // There are free pages, but not in a row; those of the next slice will be. While a reader pins what is freed, those
    // could not be used either, and commit after commit would forget another slice for nothing.
    const std::uint64_t without_slice = less(log_now, capped / BucketRules::kSlicesOfCap);
    return Room{false, now, pinned ? log_pages : std::min(log_pages, without_slice)};
  }
  return Room{free.usable + growth >= now + later, now, log_pages};
}

std::optional<SizeCap::Room> SizeCap::make_room(std::optional<lmdb::WriteTxn>& txn, std::uint64_t bytes) {
  constexpr unsigned kMostRounds = 8;
  for (unsigned round = 0;; ++round) {
    const auto room = room_for(*txn, bytes);
    if (!room || room->enough || round == kMostRounds) return room;
    if (const auto oldest = env_.oldest_snapshot(); oldest && *oldest < newest_commit(*txn)) {
      // A reader pins what is free: until it ends, neither forgetting more nor another commit helps.
      if (!wait_for_readers(txn, *oldest)) return room;
      continue;
    }
    if (give_back(*txn, room->log_pages) == 0) write_something(*txn, catalog_);
    txn->commit();
    txn.emplace(env_);
  }
}

/// Waits for readers that pin `snapshot`, once for each snapshot; returns false if they still do, or did after an
/// earlier wait. A look-up pins its pages for microseconds, or for some milliseconds when its thread loses the
/// processor. A reader that was killed pins them until reader_check() notices.
bool SizeCap::wait_for_readers(std::optional<lmdb::WriteTxn>& txn, std::uint64_t snapshot) {
  constexpr std::chrono::milliseconds kPatience{50};
  constexpr std::chrono::microseconds kPause{100};
  const auto is_over = [&] {
    const auto oldest = env_.oldest_snapshot();
    return !oldest || *oldest > snapshot;
  };
  env_.reader_check();
  if (is_over()) return true;
  if (snapshot <= waited_for_) return false;
  txn.reset();  // The gate keeps others from writing.
  const auto limit = std::chrono::steady_clock::now() + kPatience;
  bool over = false;
  while (!over && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(kPause);
    over = is_over();
  }
  if (!over) waited_for_ = snapshot;
  txn.emplace(env_);
  return over;
}

std::size_t SizeCap::give_back(lmdb::WriteTxn& txn, std::uint64_t log_pages) {
  const auto enough = [&] { return log_.pages(txn) <= log_pages; };
  const Lsn log_end = log_.end(txn).value_or(Lsn{});
  std::uint64_t epoch = 0;
  std::size_t deleted = 0;
  bool more = !enough();
  while (more) {
    // Acquire: as in commit.
    const Lsn head{live_.marks.head.load(std::memory_order_acquire)};
    const Layout layout = live_.layout.read(epoch);
    deleted += log_.trim(txn, oldest_lsn(layout, head), kMostGivenBack - deleted, enough);
    more = deleted < kMostGivenBack && !enough() && !layout.empty() && layout.buckets[0].first_lsn < log_end &&
           drop_early_();
  }
  keep_forgotten(txn, catalog_, live_, live_.layout.read(epoch));
  return deleted;
}

}  // namespace oncelog::internal
