#include "background/recovery.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "background/bucket_rows.h"
#include "background/read_log.h"
#include "background/rebuild.h"
#include "background/ring_rescue.h"
#include "base/clock.h"
#include "base/error.h"
#include "log/ring_salvage.h"
#include "shared/uncommitted.h"
#include "shared/view.h"

namespace oncelog::internal {
namespace {

constexpr Lsn kFirstLsn = SharedState::kFirstLsn;
constexpr const char* kLiveName = "live";
constexpr const char* kNewLiveName = "live-new";  // Until it is complete.

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", path);
}

/// The filter and index files in a live directory of this store.
std::vector<std::filesystem::path> hints_in(const std::filesystem::path& live_dir) {
  std::error_code failed;
  std::vector<std::filesystem::path> hints;
  for (std::filesystem::directory_iterator at(live_dir, failed), end; !failed && at != end; at.increment(failed)) {
    if (is_hint_name(at->path().filename().string())) hints.push_back(at->path());
  }
  // A directory that is not there has no files either. One that cannot be read may keep hints beside a `live` whose
  // ring is about to be given back: a process that believed both would miss records.
  if (failed && failed != std::errc::no_such_file_or_directory) {
    throw system_error(failed.value(), "reading it", live_dir);
  }
  return hints;
}

/// Deletes all of them. After that the directory's `live` is only good for its clock, tokens and claims.
void remove_hints(const std::filesystem::path& live_dir) {
  for (const auto& path : hints_in(live_dir)) remove_file(path);
  remove_file(live_dir / kNewLiveName);
}

/// Whether there is room for twice these files on a disk. In memory there never is enough.
bool has_room_beside(const std::filesystem::path& live_dir, const std::vector<std::filesystem::path>& hints) {
  struct statfs filesystem {};
  if (::statfs(live_dir.c_str(), &filesystem) != 0 || filesystem.f_type == TMPFS_MAGIC) return false;
  std::uint64_t bytes = 0;
  for (const auto& path : hints) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) bytes += static_cast<std::uint64_t>(status.st_size);
  }
  return filesystem.f_bavail * static_cast<std::uint64_t>(filesystem.f_bsize) > 2 * bytes;
}

/// The same, but the background deletes them where that takes seconds and nobody needs their room before. Returns
/// whether files are left for it.
bool set_hints_aside(const std::filesystem::path& live_dir) {
  const auto hints = hints_in(live_dir);
  if (!has_room_beside(live_dir, hints)) {
    remove_hints(live_dir);
    return false;
  }
  for (const auto& path : hints) {
    if (!is_set_aside(path.filename().string())) set_aside(path);
  }
  remove_file(live_dir / kNewLiveName);
  return !hints.empty();
}

}  // namespace

Recovery::Opened Recovery::open(const std::filesystem::path& live_dir, const std::filesystem::path& former_dir,
                                bool alone) const {
  if (!alone) {
    if (auto live = SharedState::open(live_dir / kLiveName, host.boot_id(), store_file_id))
      return {std::move(*live), {}};
    throw error_at(ErrorCode::in_use, live_dir / kLiveName,
                   "the store's shared memory is missing or damaged while other processes use it; close the store in "
                   "every process, and the next one to open it rebuilds it (or, where this process runs in a container "
                   "and does not see that directory of the others, let all of them share it)");
  }
  const bool moved = !former_dir.empty() && former_dir != live_dir;
  auto here = find(live_dir);
  auto elsewhere = moved ? find(former_dir) : std::nullopt;
  // If both are there, the one elsewhere is newer.
  Former* const former = elsewhere ? &*elsewhere : here ? &*here : nullptr;
  if (former != nullptr && !former->damaged) mend(former->live);
  const bool whole = former != nullptr && !former->damaged && !moved && usable(former->live, live_dir);
  std::string damage;
  std::optional<Rebuild::Built> made;
  if (!whole) {
    if (former != nullptr) {
      const std::filesystem::path& place = elsewhere ? former_dir : live_dir;
      const auto saved = RingRescue{env, log, catalog, identity}.save(*former);
      damage = RingRescue::damage_of(place / kLiveName, *former, saved);
      set_hints_aside(place);
      former->live.give_back_ring();
    }
    const bool aside = set_hints_aside(live_dir);
    try {
      made.emplace(rebuild(live_dir, former));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::full || !aside) throw;
      remove_hints(live_dir);  // Those that were set aside have taken the room.
      made.emplace(rebuild(live_dir, former));
    }
    made->live.rename(live_dir / kLiveName);
    if (!damage.empty() && !made->damage.empty()) damage += "; ";
    damage += made->damage;
    // Relaxed: a counter, and no other process uses it yet.
    if (!damage.empty()) HostCounters::add(made->live.header().counters.damages, 1);
  }
  if (moved) {
    remove_hints(former_dir);
    remove_file(former_dir / kLiveName);
  }
  if (whole) {
    // What is on disk is read from the log, which a checksum guards. Relaxed: no other process uses it.
    SharedHeader& header = here->live.header();
    header.believed_from.store(header.marks.flushed.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  return {std::move(whole ? here->live : made->live), std::move(damage)};
}

/// Under another name, so that a death before it is ready leaves the former one to the next process.
Rebuild::Built Recovery::rebuild(const std::filesystem::path& live_dir, const Former* former) const {
  const Rebuild rebuild{env, log, catalog, identity, store_file_id, host, settings};
  return rebuild.run(live_dir, live_dir / kNewLiveName, former);
}

std::optional<Former> Recovery::find(const std::filesystem::path& live_dir) const {
  const auto boot_id = host.boot_id();
  if (auto live = SharedState::open(live_dir / kLiveName, boot_id, store_file_id))
    return Former{std::move(*live), false};
  if (auto live = SharedState::open_damaged(live_dir / kLiveName, boot_id, store_file_id))
    return Former{std::move(*live), true};
  return std::nullopt;
}

/// Corrects what damage may have changed without making the header contradict itself. All accesses are relaxed: no
/// other process uses it.
void Recovery::mend(const SharedState& live) const {
  live.mend();
  SharedHeader& header = live.header();
  const lmdb::Txn txn(env, MDB_RDONLY);
  live.leases().doubt(catalog.number(txn, Catalog::Number::token_epoch));
  // What the log has forgotten is forgotten, and nothing was forgotten that was processed after now.
  const auto noted_us = static_cast<std::int64_t>(catalog.number(txn, Catalog::Number::known_since_us));
  const std::int64_t latest_known_us = std::max(noted_us, Clock(host, header.clock).stamp_us() + 1);
  const std::int64_t known_us = header.known_since_us.load(std::memory_order_relaxed);
  header.known_since_us.store(std::clamp(known_us, noted_us, latest_known_us), std::memory_order_relaxed);
  const std::int64_t latest_us = host.boot_us() + SharedState::kClockSetWithinUs;
  if (header.known_settles_at_us.load(std::memory_order_relaxed) > latest_us) {
    header.known_settles_at_us.store(latest_us, std::memory_order_relaxed);
  }
  // So that the next flush does not wait for a time that never comes.
  header.counters.last_flush_at_us.store(0, std::memory_order_relaxed);
}

bool Recovery::usable(const SharedState& live, const std::filesystem::path& live_dir) const {
  const lmdb::Txn txn(env, MDB_RDONLY);
  const Lsn log_end = log.end(txn).value_or(kFirstLsn);
  SharedHeader& header = live.header();
  // Acquire: pair with the releases of producers and flushers, all dead or gone by now.
  Lsn head{header.marks.head.load(std::memory_order_acquire)};
  const Lsn flushed{header.marks.flushed.load(std::memory_order_acquire)};
  // A log that ends below `flushed` was replaced by an older one, a log that ends above `head` by another one.
  if (log_end < flushed || log_end > head) return false;
  RingSalvage ring(live.ring(), identity.hash_seed);
  try {
    ViewCache files(live, live_dir, env.path());
    const auto view = files.newest();
    files.check_spares(view->layout);
    // The index notes a record after the head has passed it. So a head below that is damaged, and the records that it
    // hides are in the ring.
    if (const Lsn reached = view->reached(); reached > head && ring.whole_until(flushed, reached) == reached) {
      head = reached;
      header.marks.head.store(head.value, std::memory_order_relaxed);  // No other process uses it.
    }
    // Files that are older than `live` were put back from a copy and do not have the records since then.
    if (!view->reaches(head)) return false;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::in_use) throw;
    return false;  // A file is missing or foreign.
  }
  const Uncommitted uncommitted(live, identity.hash_seed);
  if (!uncommitted.sound(log_end)) return false;
  lmdb::ReadTxn records(env, log.dbi());
  const lmdb::ReadTxn::Active active(records);
  const auto newest = last_header_below(records, log_end);
  std::int64_t newest_us = newest ? newest->time_us() : 0;
  for (Lsn at = flushed; at < head;) {
    const auto record = ring.record_at(at, head);
    if (!record) return false;
    if ((record->header.flags() & kUncommitted) != 0 && !uncommitted.announces(at)) return false;
    newest_us = std::max(newest_us, record->header.time_us());
    at.value += record->header.bytes();
  }
  // A last time before the newest record's would make that record expire too early; one in the future would make what
  // is marked from now on be remembered for too long. Acquire: pairs with the release by producers.
  const std::int64_t last_us = header.marks.last_time_us.load(std::memory_order_acquire);
  return last_us >= newest_us && last_us <= std::max(newest_us, Clock(host, header.clock).stamp_us());
}

void Recovery::verify_log() const {
  lmdb::ReadTxn txn(env, log.dbi());
  const lmdb::ReadTxn::Active active(txn);
  read_log(txn, env.path(), kFirstLsn, identity.hash_seed, [](const RecordView&, const MessageHash&, Lsn) {});
}

}  // namespace oncelog::internal
