#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/scope.h>

#include "background/event_watch.h"
#include "background/flusher.h"
#include "background/recovery.h"
#include "background/sealer.h"
#include "background/upkeep.h"
#include "base/clock.h"
#include "base/exported.h"
#include "base/fork_generation.h"
#include "base/host.h"
#include "base/process_identity.h"
#include "engine/reader_pool.h"
#include "lmdb/catalog.h"
#include "lmdb/user_tables.h"
#include "log/log.h"
#include "shared/live_directory.h"
#include "shared/live_place.h"
#include "shared/open_lock.h"
#include "shared/settings.h"
#include "shared/shared_state.h"
#include "shared/tally.h"
#include "shared/view.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// What an open store consists of, opened in the order of the members below and closed the other way round. An
/// exception in between closes what is open by then; what that leaves in the directory is what a process that died
/// there leaves, and the next process that opens the store continues from there.
///
/// Opening holds the open lock from the first step until finish_opening(): one process at a time. Only a process that
/// is alone then writes to data.mdb, so that nobody waits for LMDB's write lock while others wait to open the store.
///
/// Thread safety: the parts' own, once finish_opening() has returned.
class OpenedStore {
 public:
  /// `events` calls the options' event hook; null without one. Its owner closes it once the store can be opened again,
  /// as the hook may do that.
  OpenedStore(const std::filesystem::path& directory, const Options& options, const Host& host,
              std::shared_ptr<EventDispatch> events);
  OpenedStore(const OpenedStore&) = delete;
  OpenedStore& operator=(const OpenedStore&) = delete;
  /// Flushes what it can, and closes. A store that was not declared open only closes: what is accepted stays in the
  /// shared memory for the next process to flush.
  ~OpenedStore();

  /// Begins the background work of a store that may be written to. `reap` is called seldom: it gives back what dead
  /// owners of claims have left.
  void start_background(std::function<void()> reap);
  /// Ends it: nothing of it runs when this has returned.
  void stop_background() {
    if (flusher_) flusher_->stop();
  }
  /// Lets other processes open the store, and makes what the options set the store's.
  void finish_opening();
  /// The last step: all of it is open.
  void declare_open() { open_ = true; }

  const std::filesystem::path& directory() const { return directory_; }
  const Options& options() const { return options_; }
  const Host& host() const { return host_; }
  const std::filesystem::path& live_dir() const { return live_dir_; }
  bool live_dir_is_chosen() const { return live_dir_chosen_; }
  const StoreIdentity& identity() const { return identity_; }
  const Uuid& store_file_id() const { return store_file_id_; }
  const ProcessIdentity& self() const { return self_; }

  const lmdb::Env& env() const { return *env_; }
  const Log& log() const { return *log_; }
  const Catalog& catalog() const { return *catalog_; }
  const UserTables& user_tables() const { return *user_tables_; }
  const SharedState& state() const { return *state_; }
  SharedHeader& header() const { return state_->header(); }
  const Clock& clock() const { return *clock_; }
  const BucketRules& rules() const { return rules_; }
  ViewCache& views() { return *views_; }
  ProcessTally& tally() { return *tally_; }

  // Only of a store that may be written to.
  Upkeep& upkeep() { return *upkeep_; }
  Flusher& flusher() { return *flusher_; }

  /// The calling thread's. Throws Error::forked in a child of the process that opened the store.
  Reader& reader() {
    check_usable();
    return readers_->mine();
  }

  /// Throws Error::options_mismatch or live_dir_mismatch when the options of a second open in this process contradict
  /// the first's.
  void check_options(const Options& options) const;
  /// Makes what the options set, and the store is not yet set to, the store's. For writers; waits for other writers.
  void change_settings(const Options& options);

  bool forked() const { return process_ != fork_generation(); }
  void check_usable() const {
    if (forked()) [[unlikely]]
      refuse_forked();
  }
  void check_writable() const {
    check_usable();
    if (options_.read_only) [[unlikely]]
      refuse_read_only();
  }
  /// Throws Error::invalid_argument when `what` would wait for the disk within a transaction of this thread.
  void check_not_in_transaction(const char* what) const;

  /// Where the records end. Acquire: pairs with the release in Hold::append.
  Lsn head() const { return Lsn{header().marks.head.load(std::memory_order_acquire)}; }
  /// Acquire: pairs with the release by the flusher, so that the records below can be read from LMDB.
  Lsn durable() const {
    check_usable();
    return Lsn{header().marks.flushed.load(std::memory_order_acquire)};
  }
  bool within_retention(std::int64_t time_us) const {
    return clock_->retention_us() < time_us + identity_.retention_us;
  }
  Time known_since() const;
  /// Notes in data.mdb that the store has imported records from now on, so that no earlier version opens it. Returns
  /// once that is on disk; costs a commit with the first import. Errors: full, io, invalid_argument within a
  /// transaction.
  ONCELOG_INTERNAL void allow_imports();

  std::uint64_t scope_seed(std::uint32_t scope) const { return MessageHash::scope_seed(identity_.hash_seed, scope); }

  Probe probe(ScopeKey scope, std::string_view id) const {
    return {id, scope.number, MessageHash(scope.hash_seed, id)};
  }
  Probe correlation_probe(std::string_view correlation) const {
    return {correlation, MessageHash::kCorrelationScope,
            MessageHash(scope_seed(MessageHash::kCorrelationScope), correlation), MessageHash::Of::correlation};
  }
  /// As many probes as ids, the filter's lines prefetched: each comes while the ids after it are hashed.
  void make_probes(Reader& reader, ScopeKey scope, std::span<const std::string_view> ids, std::span<Probe> out) const {
    const View& view = reader.view();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      out[i] = probe(scope, ids[i]);
      view.prefetch(out[i].hash);
    }
  }

  /// Gives the host what this process has counted; returns that.
  Tally fold_tally();
  /// Why the last flush, the last round of upkeep or the last call of the event hook failed; empty when none did.
  std::string last_error() const;
  /// What calls the event hook; null without one.
  std::shared_ptr<EventDispatch> event_dispatch() const { return events_ ? events_->dispatch() : nullptr; }

 private:
  struct FormerPlace {
    std::filesystem::path directory = {};  // Empty when that is not known.
    bool chosen = false;                   // By the store itself.
    Uuid boot_id{};                        // Of when it was noted.
  };

  // The steps of opening, in their order.
  bool lock_store();
  void open_environment();
  void open_tables(lmdb::Txn& txn, unsigned create);
  void upgrade(lmdb::WriteTxn& txn);
  void find_live_dir(const FormerPlace& former);
  void choose_live_dir(const FormerPlace& former);
  std::string open_shared_memory(const FormerPlace& former);
  void join_pid_namespace();
  void note_live_dir();

  void check_live_options(const Options& options) const;
  LivePlaces places() const { return {directory_, store_file_id_}; }
  FormerPlace former_place() const;
  void refuse_hidden(const FormerPlace& former) const;
  bool may_choose(const FormerPlace& former) const;
  LiveDirectory::Trust trust_in(const FormerPlace& place) const;
  Recovery recovery() const;
  [[noreturn]] ONCELOG_INTERNAL void refuse_forked() const;
  [[noreturn]] void refuse_read_only() const;

  const std::uint64_t process_;            // The process's fork generation.
  const std::filesystem::path directory_;  // Absolute: the process may go elsewhere.
  Options options_;
  const Host& host_;
  std::optional<OpenLock> open_lock_;
  bool open_ = false;
  bool alone_ = false;          // No other process had the store open when this one opened it.
  bool log_to_verify_ = false;  // data.mdb was shorter than LMDB says.
  std::optional<lmdb::Env> env_;
  std::optional<Log> log_;
  std::optional<Catalog> catalog_;
  std::optional<UserTables> user_tables_;
  StoreIdentity identity_;
  std::atomic<bool> imports_allowed_{false};  // data.mdb is known to be of kFormatWithImports.
  Settings settings_;                         // As they were stored when the store was opened.
  Uuid store_file_id_{};
  std::filesystem::path live_dir_;
  bool live_dir_chosen_ = false;  // No option gave it.
  LiveDirectory live_directory_;  // Of live_dir_, when that is not the store's own.
  std::optional<SharedState> state_;
  std::optional<Clock> clock_;
  ProcessIdentity self_;
  BucketRules rules_{};
  std::optional<ViewCache> views_;
  std::shared_ptr<ReaderPool> readers_;
  std::optional<ProcessTally> tally_;
  std::optional<Upkeep> upkeep_;
  std::optional<Sealer> sealer_;
  std::optional<EventWatch> events_;
  std::optional<Flusher> flusher_;
};

}  // namespace oncelog::internal
