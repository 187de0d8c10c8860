#include "engine/opened_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <exception>
#include <utility>

#include "base/error.h"
#include "engine/new_store.h"
#include "engine/running_transaction.h"
#include "shared/argument_checks.h"
#include "shared/directory.h"
#include "shared/writer_gate.h"

namespace oncelog::internal {
namespace {

using std::chrono::milliseconds;

constexpr unsigned kTables = 8;  // Named LMDB tables, and room for more in later versions.

}  // namespace

OpenedStore::OpenedStore(const std::filesystem::path& directory, const Options& options, const Host& host,
                         std::shared_ptr<EventDispatch> events)
    : process_(fork_generation()), directory_(std::filesystem::absolute(directory)), options_(options), host_(host) {
  check_option_ranges(options_);
  check_directory(directory_, options_);
  alone_ = lock_store();
  open_environment();
  const FormerPlace former = former_place();
  find_live_dir(former);
  std::string damage = open_shared_memory(former);
  join_pid_namespace();
  if (alone_) note_live_dir();

  SharedHeader& shared = header();
  clock_.emplace(host_, shared.clock);
  // A process that died on the way from the one to the other has left an earlier value.
  if (alone_) shared.max_bytes.store(settings_.max_bytes, std::memory_order_relaxed);
  rules_ = BucketRules::make(identity_.retention_us, identity_.buckets, shared.planned_ids);
  views_.emplace(*state_, live_dir_, directory_);
  views_->newest();  // Maps everything, so that what is missing is reported now.
  self_ = ProcessIdentity::self();
  readers_ = std::make_shared<ReaderPool>(*env_, *log_, shared, state_->ring(), *views_);
  tally_.emplace(shared.tally);
  if (options_.read_only) return;
  upkeep_.emplace(*env_, *log_, identity_.hash_seed, *state_, *views_, rules_, *clock_, options_.flush_interval,
                  host_.processors());
  sealer_.emplace(*env_, *log_, *catalog_, *state_, *views_, *clock_,
                  Sealer::Places{directory_, live_dir_, store_file_id_});
  events_.emplace(std::move(events), directory_, shared, *clock_);
  if (!damage.empty()) events_->tell_of_damage(std::move(damage));
  flusher_.emplace(*env_, *log_, *catalog_, *state_, identity_.hash_seed, options_.flush_interval);
}

void OpenedStore::start_background(std::function<void()> reap) {
  flusher_->start({.upkeep_due = [this] { return upkeep_->due() || sealer_->due(); },
                   .upkeep =
                       [this] {
                         // Also after an error: the sealer deletes what has expired, which a full disk waits for.
                         std::exception_ptr trouble;
                         bool more = false;
                         try {
                           more = upkeep_->tick();
                         } catch (const std::exception&) {
                           trouble = std::current_exception();
                         }
                         more |= sealer_->step();
                         if (trouble) std::rethrow_exception(trouble);
                         return more;
                       },
                   .report =
                       [this] {
                         fold_tally();
                         events_->look(*flusher_);
                       },
                   // What the dead have left is free as it is; this gives its place in the table back.
                   .reap = std::move(reap),
                   .drop_early = [this] { return upkeep_->drop_early(); },
                   .uncounted_pages = [this](const lmdb::Txn& txn) { return user_tables_->pages(txn); }});
}

void OpenedStore::finish_opening() {
  open_lock_->unlock();
  if (!alone_) change_settings(options_);
}

OpenedStore::~OpenedStore() {
  stop_background();
  if (!open_) return;
  if (flusher_) {
    try {
      flusher_->flush();
    } catch (const std::exception&) {
      // Nothing is lost: what could not be flushed stays in `live`, and the next process to open the store flushes it.
    }
    try {
      events_->look(*flusher_);
    } catch (const std::exception&) {
      // No memory for the event.
    }
  }
  fold_tally();
  readers_->close();
  // LMDB wants its closing serialised with other processes' opening; a failure to lock must not keep it from closing.
  try {
    open_lock_->lock();
  } catch (const std::exception&) {
  }
}

/// Locks data.mdb, made first where there is none, and joins the store's users; returns whether there are no others.
bool OpenedStore::lock_store() {
  const bool may_create = options_.create && !options_.read_only;
  for (;;) {
    open_lock_.emplace(directory_);
    if (!open_lock_->acquire()) {
      if (!may_create) throw no_store(directory_);
      create_data_file(directory_, options_);
      continue;
    }
    const bool alone = open_lock_->join();
    if (alone) {
      if (is_unfinished(*open_lock_, directory_)) {
        if (!may_create) throw no_store(directory_);
        replace_data_file(directory_, options_);
        continue;
      }
      // The process that made data.mdb may have died, or failed, after it named the file and before the name was on
      // disk; nothing is acknowledged in a file that a power failure takes away. All later users come after this one.
      sync_directory(directory_, true);
      remove_unfinished(directory_);
      prepare_lock_file(directory_, options_.max_readers);
    }
    open_lock_->pair();
    return alone;
  }
}

/// Opens LMDB's environment and its tables, and reads the store's identity.
void OpenedStore::open_environment() {
  constexpr std::uint64_t kGranule = std::uint64_t{64} << 10;  // A multiple of every page size.
  env_.emplace(directory_, MDB_NOTLS | MDB_NORDAHEAD, options_.map_bytes / kGranule * kGranule, options_.max_readers,
               kTables);
  env_->reader_check();
  if (alone_) {
    lmdb::WriteTxn txn(*env_);
    log_to_verify_ = env_->complete_file();
    open_tables(txn, MDB_CREATE);
    upgrade(txn);
    if (!options_.read_only) {
      const Settings before = std::exchange(settings_, settings_.with(options_));
      settings_.put(txn, *catalog_, before);
    }
    txn.commit();
    if (identity_.format_version >= kFormatVersion) open_lock_->forget_earlier_version();
  } else {
    lmdb::Txn txn(*env_, MDB_RDONLY);
    open_tables(txn, 0);
    txn.keep_tables();
  }
  store_file_id_ = store_file_id_of(directory_, identity_.store_id);
}

/// `create` is MDB_CREATE for tables that stores of earlier versions lack.
void OpenedStore::open_tables(lmdb::Txn& txn, unsigned create) {
  catalog_.emplace(txn, 0, create);
  log_.emplace(txn, 0);
  const auto stored = catalog_->identity(txn);
  if (!stored) {
    throw error_at(ErrorCode::not_a_store, directory_, "its LMDB file says nothing of an oncelog store");
  }
  user_tables_.emplace(txn, create);
  identity_ = *stored;
  settings_ = Settings::stored(*catalog_, txn);
  check_options(options_);
}

/// The records of earlier formats are records of this one; a version that knows no more must not open it again.
void OpenedStore::upgrade(lmdb::WriteTxn& txn) {
  if (identity_.format_version >= kFormatVersion || options_.read_only) return;
  identity_.format_version = kFormatVersion;
  catalog_->seal_scopes(txn);
  catalog_->put_identity(txn, identity_);
  const std::string noted = open_lock_->formerly_noted_live_dir().string();
  if (!noted.empty()) catalog_->put_live_dir(txn, {.directory = noted, .chosen = noted == Catalog::kOwnLiveDir});
}

void OpenedStore::allow_imports() {
  // Acquire: pairs with the release below.
  if (imports_allowed_.load(std::memory_order_acquire)) return;
  check_not_in_transaction("an import");
  const WriterGate gate(header(), directory_);
  lmdb::WriteTxn txn(*env_);
  StoreIdentity identity = catalog_->identity(txn).value();
  if (identity.format_version < kFormatWithImports) {
    identity.format_version = kFormatWithImports;
    catalog_->put_identity(txn, identity);
    txn.commit();
  }
  imports_allowed_.store(true, std::memory_order_release);
}

/// Where this store's shared memory was last.
OpenedStore::FormerPlace OpenedStore::former_place() const {
  if (const auto noted = catalog_->live_dir(lmdb::Txn(*env_, MDB_RDONLY))) {
    return {places().noted(noted->directory), noted->chosen, noted->boot_id};
  }
  return {.directory = places().noted(open_lock_->formerly_noted_live_dir())};
}

/// What an option gives holds; otherwise the store's other users, or the last one, are followed.
void OpenedStore::find_live_dir(const FormerPlace& former) {
  const auto given = [&] { return places().given(options_.live_dir); };
  const std::filesystem::path own = places().own();
  if (!alone_) {
    live_dir_ = former.directory.empty() ? own : former.directory;
    live_dir_chosen_ = former.chosen;
    if (!options_.live_dir.empty() && given() != live_dir_) {
      throw error_at(ErrorCode::live_dir_mismatch, directory_,
                     "another process has the store open with its shared memory in {}, not {}; use the same live_dir, "
                     "or give none",
                     live_dir_.string(), given().string());
    }
    if (live_dir_ != own) live_directory_.hold(live_dir_, trust_in(former));
    return;
  }
  refuse_hidden(former);
  live_dir_chosen_ = options_.live_dir.empty() && may_choose(former);
  if (live_dir_chosen_) {
    choose_live_dir(former);
  } else {
    live_dir_ = options_.live_dir.empty() ? former.directory : given();
    if (live_dir_ != own) live_directory_.make_and_hold(live_dir_, trust_in({}));
  }
  if (live_dir_ != own) LiveDirectory::note_store(live_dir_, own);
}

/// Refuses to go on without the shared memory that the store chose in this boot in a tmpfs that this process does not
/// see, as in a container: marks may be in it that are not on disk.
void OpenedStore::refuse_hidden(const FormerPlace& former) const {
  const bool elsewhere = former.chosen && !former.directory.empty() && former.directory != places().own();
  if (!elsewhere || !options_.live_dir.empty() || former.boot_id != host_.boot_id()) return;
  std::error_code failed;
  if (std::filesystem::exists(former.directory, failed) || failed || places().in_tmpfs(host_, 0)) return;
  throw error_at(ErrorCode::in_use, former.directory,
                 "has the store's shared memory, and perhaps marks that are not on disk, and this process does not see "
                 "it (does it run in a container?); open the store where it was opened, or give a live_dir, such as "
                 "the store's own directory, to go on without them");
}

/// Whether nobody has said where the shared memory of a store that no other process has open is to be.
bool OpenedStore::may_choose(const FormerPlace& former) const {
  if (former.chosen || former.directory.empty()) return true;
  // What was given may be of another host, or not mounted: then this store's files are not in it.
  std::error_code failed;
  return !std::filesystem::exists(former.directory.parent_path(), failed) && !failed;
}

/// Where the shared memory of this boot is, it stays. Otherwise, as all of it has to be made, in the host's tmpfs, if
/// that has room: the next boot takes it anyway.
void OpenedStore::choose_live_dir(const FormerPlace& former) {
  const LiveDirectory::Trust trust = trust_in({.chosen = true});
  const auto can_hold = [&](const std::filesystem::path& live_dir, bool make) {
    try {
      if (make) live_directory_.make_and_hold(live_dir, trust);
      return make || live_directory_.hold(live_dir, trust);
    } catch (const Error&) {
      return false;  // What keeps this user from it (it is somebody else's, or must not be made) makes it no choice.
    }
  };
  const std::filesystem::path own = places().own();
  const std::filesystem::path& last = former.directory;
  if (former.chosen && !last.empty() && (last == own || can_hold(last, false)) && recovery().is_in(last)) {
    live_dir_ = last;
    return;
  }
  const auto rows = catalog_->buckets(lmdb::Txn(*env_, MDB_RDONLY));
  const auto in_tmpfs = places().in_tmpfs(host_, planned_bytes(settings_, identity_.buckets, rows));
  const bool held = in_tmpfs && can_hold(*in_tmpfs, true);
  if (!held) live_directory_.release();
  live_dir_ = held ? *in_tmpfs : own;
}

/// What lies in a live_dir that others may write to is believed only when it was put there by a trusted user. Whoever
/// insists on a foreign store, and perhaps on a live_dir, does not insist on what others have put where stores choose.
LiveDirectory::Trust OpenedStore::trust_in(const FormerPlace& place) const {
  return {.directory = directory_, .everyone = options_.allow_foreign_owner && !place.chosen};
}

Recovery OpenedStore::recovery() const {
  return {*env_, *log_, *catalog_, identity_, store_file_id_, host_, settings_};
}

/// Returns what was damaged, for people; empty when nothing was.
std::string OpenedStore::open_shared_memory(const FormerPlace& former) {
  const bool elsewhere = !former.directory.empty() && former.directory != places().own();
  const bool believed = !elsewhere || is_trusted(former.directory, trust_in(former));
  if (alone_ && log_to_verify_) recovery().verify_log();
  Recovery::Opened opened = recovery().open(live_dir_, believed ? former.directory : std::filesystem::path(), alone_);
  state_.emplace(std::move(opened.live));
  if (alone_ && elsewhere && believed && former.directory != live_dir_) remove_live_directory(former.directory);
  return std::move(opened.damage);
}

/// Reader slots and robust mutexes carry process and thread numbers, which mean nothing in another pid namespace.
void OpenedStore::join_pid_namespace() {
  struct stat status {};
  if (::stat("/proc/self/ns/pid", &status) != 0) return;  // Without /proc nobody can tell.
  std::atomic<std::uint64_t>& pid_namespace = header().pid_namespace;
  // Relaxed: read and written under the open lock.
  if (alone_) pid_namespace.store(status.st_ino, std::memory_order_relaxed);
  if (pid_namespace.load(std::memory_order_relaxed) != status.st_ino) {
    throw error_at(ErrorCode::unsupported, directory_,
                   "a process in another pid namespace has the store open; run its users in one (a shared "
                   "--pid for containers)");
  }
}

/// Once the shared memory is there: until then what is left of it is where it was.
void OpenedStore::note_live_dir() {
  const Catalog::LiveDir note{
      .directory = live_dir_ == places().own() ? std::string(Catalog::kOwnLiveDir) : live_dir_.string(),
      .chosen = live_dir_chosen_,
      .boot_id = host_.boot_id()};
  if (catalog_->live_dir(lmdb::Txn(*env_, MDB_RDONLY)) == note) return;
  lmdb::WriteTxn txn(*env_);
  catalog_->put_live_dir(txn, note);
  txn.commit();
}

void OpenedStore::check_options(const Options& options) const {
  const milliseconds retention =
      std::chrono::duration_cast<milliseconds>(std::chrono::microseconds(identity_.retention_us));
  if (options.retention && *options.retention != retention) {
    throw error_at(ErrorCode::options_mismatch, directory_,
                   "the store was created with a retention of {}, not {}; open it with that, or without saying",
                   in_words(retention), in_words(*options.retention));
  }
  if (options.buckets && *options.buckets != identity_.buckets) {
    throw error_at(ErrorCode::options_mismatch, directory_,
                   "the store was created with {} buckets, not {}; open it with these, or without saying",
                   identity_.buckets, *options.buckets);
  }
  if (state_) check_live_options(options);
}

/// What the handles of one process share.
void OpenedStore::check_live_options(const Options& options) const {
  if (!options.live_dir.empty() && places().given(options.live_dir) != live_dir_) {
    throw error_at(ErrorCode::live_dir_mismatch, directory_,
                   "this process has the store open with its shared memory in {}, not {}", live_dir_.string(),
                   places().given(options.live_dir).string());
  }
  if (options_.read_only != options.read_only) {
    throw error_at(ErrorCode::options_mismatch, directory_,
                   "this process has the store open {} read_only; use that handle, or close it first",
                   options_.read_only ? "with" : "without");
  }
  if (options.on_decision || options.on_event) {
    throw error_at(ErrorCode::options_mismatch, directory_,
                   "this process has the store open already; its hooks are those of the first handle, so "
                   "give them there");
  }
}

void OpenedStore::change_settings(const Options& options) {
  if (options_.read_only) return;
  std::atomic<std::uint64_t>& cap = header().max_bytes;
  // Relaxed: see there. Also when it alone differs: the process that stored another one may have died before this.
  const bool cap_differs = options.max_bytes && *options.max_bytes != cap.load(std::memory_order_relaxed);
  const auto stored = [&](const lmdb::Txn& txn) { return Settings::stored(*catalog_, txn); };
  if (const Settings now = stored(lmdb::Txn(*env_, MDB_RDONLY)); now == now.with(options) && !cap_differs) return;
  check_not_in_transaction("opening the store with other settings");
  const WriterGate gate(header(), directory_);
  lmdb::WriteTxn txn(*env_);
  const Settings before = stored(txn);
  const Settings after = before.with(options);
  after.put(txn, *catalog_, before);
  txn.commit();
  cap.store(after.max_bytes, std::memory_order_relaxed);
  flusher_->note_cap();
}

Time OpenedStore::known_since() const {
  check_usable();
  // Acquire: pairs with the release in Upkeep, by which the bucket that raised it is no longer looked into.
  const std::int64_t capped_us = header().known_since_us.load(std::memory_order_acquire);
  // What was processed just a retention ago is forgotten now.
  return Time{std::chrono::microseconds{std::max(capped_us, clock_->retention_us() - identity_.retention_us + 1)}};
}

Tally OpenedStore::fold_tally() {
  return tally_->fold([this](auto visit) { readers_->each_counters(visit); });
}

std::string OpenedStore::last_error() const {
  std::string error = flusher_ ? flusher_->last_error() : std::string();
  if (error.empty() && events_) error = events_->trouble();
  return error;
}

void OpenedStore::check_not_in_transaction(const char* what) const {
  if (!RunningTransaction::in(*this)) return;
  refuse(fmt::format("{}: {} has to write to disk, which it cannot within transact()", directory_.string(), what));
}

void OpenedStore::refuse_forked() const {
  throw error_at(ErrorCode::forked, directory_, "the store was opened before fork(); open it again in the child");
}

void OpenedStore::refuse_read_only() const {
  throw error_at(ErrorCode::read_only, directory_, "the store was opened with read_only");
}

}  // namespace oncelog::internal
