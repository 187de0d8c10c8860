#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/backup.h>
#include <oncelog/metrics.h>
#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/store.h>
#include <oncelog/verify.h>

#include "background/event_watch.h"
#include "background/flusher.h"
#include "background/upkeep.h"
#include "base/clock.h"
#include "base/host.h"
#include "engine/reader.h"
#include "lmdb/catalog.h"
#include "lmdb/user_tables.h"
#include "log/log.h"
#include "shared/held_lease.h"
#include "shared/open_lock.h"
#include "shared/settings.h"
#include "shared/shared_state.h"
#include "shared/store_lock.h"
#include "shared/tally.h"
#include "shared/uncommitted.h"
#include "shared/view.h"
#include "shared/writer_gate.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// One open store of this process, behind all of its handles: joins the parts, and is where an id is checked and
/// decided on. Every member function may be called from any thread. See registry.h for how one comes to be. Opening,
/// closing and checking are in engine.cc, what a fresh id goes through in decide.h, marking and forgetting in mark.cc,
/// claims in claims.cc and claim_admin.cc, the rest in the file of its name.
class Engine {
 public:
  Engine(const std::filesystem::path& directory, const Options& options, const Host& host);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// Flushes what it can, and closes. In a child of the process that opened it, lets everything be.
  ~Engine();

  /// The scope of that name, numbered on first use; number 0 when a read-only store does not know the name.
  ScopeKey scope(std::string_view name);
  std::vector<std::string> scopes();

  /// The live record of the id, if it has one.
  std::optional<Found> find(ScopeKey scope, std::string_view id);
  /// The same for many: found(i, record) is called for those that have one, in no order.
  void find(ScopeKey scope, std::span<const std::string_view> ids,
            const std::function<void(std::size_t, const Found&)>& found);

  Marked mark(ScopeKey scope, std::string_view id, const Attributes& attributes, Ack ack);
  void mark(ScopeKey scope, std::span<const std::string_view> ids, std::span<const Attributes> attributes,
            std::span<Marked> out, Ack ack);
  bool forget(ScopeKey scope, std::string_view id, Ack ack);

  // --- claims.cc
  struct ClaimTerms {
    std::chrono::milliseconds lease{0};
    OrphanPolicy orphans = OrphanPolicy::free_at_once;
  };
  /// `owner` is filled for in_progress. The caller counts the decision: only it knows what it tells.
  Marked begin(ScopeKey scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
               std::chrono::milliseconds patience, HeldLease& held, std::optional<ClaimOwner>& owner);
  /// For each id in order, its verdict (in `out`) and what is held of it; returns the newest LSN of the duplicates, and
  /// each one's in `lsns`, unless that is empty.
  Lsn begin(ScopeKey scope, std::span<const std::string_view> ids, const ClaimTerms& terms, std::span<Verdict> out,
            std::span<Lsn> lsns, std::vector<HeldLease>& held);
  bool lock(std::string_view name, std::chrono::milliseconds lease, std::chrono::milliseconds patience, HeldLease& held,
            std::optional<ClaimOwner>& owner);
  bool wait_until_free(ScopeKey scope, std::string_view id, std::chrono::milliseconds patience);
  /// Marks what is held and ends it; those that came too late have token 0 afterwards. attributes[i] for held[i], none
  /// when empty. Returns the newest LSN of the records. After an error it may be called again, for the rest.
  Lsn complete(std::span<HeldLease> held, std::span<const Attributes> attributes);
  bool renew(const HeldLease& held, std::chrono::milliseconds lease);
  /// Has a transaction of this process end the claim: as long as the process lives its lease is not over before that.
  bool give_to_transaction(const HeldLease& held);
  /// Frees what is held; returns how many were still the holder's.
  std::size_t let_go(std::span<const HeldLease> held);
  /// The same for claims of one scope that are given up, which is counted.
  void abandon(std::span<const HeldLease> held);

  // --- claim_admin.cc
  bool release(ScopeKey scope, std::string_view id);
  std::vector<ClaimInfo> claims();
  /// Frees what dead owners have left.
  void reap_claims();
  /// Frees what an earlier program of this process has left. Waits for nobody's transaction.
  void free_own_claims();
  /// Frees what these have left, who will not come back to it.
  void free_claims_of(std::span<const ProcessIdentity> owners);

  // --- correlation.cc
  /// The whole record at `lsn`, verified; nothing when it is gone.
  std::optional<Record> record_at(Lsn lsn);
  std::vector<Record> correlated(std::string_view correlation);
  bool contains(ScopeKey scope, std::string_view id, std::string_view correlation);

  // --- transaction.cc
  void transact(const std::function<void(Transaction&)>& work);
  std::optional<std::string> get(std::string_view table, std::string_view key);
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor);

  Time known_since() const;
  const Options& options() const { return options_; }

  /// Acquire: pairs with the release by the flusher, so that the records below can be read from LMDB.
  Lsn durable() const {
    check_usable();
    return {live_->header().marks.flushed.load(std::memory_order_acquire)};
  }
  void wait(Lsn lsn);
  /// wait() for a record that stands whatever comes; the Error says so.
  void wait_for_standing(Lsn lsn);
  /// Throws Error::invalid_argument when what is about to be accepted could not be waited for.
  void check_may_wait(Ack ack) const {
    if (ack == Ack::disk) check_not_in_transaction("waiting for the disk");
  }
  void sync();
  // --- verify.cc and backup.cc
  /// `structure_known`: the pages of data.mdb were found sound just now.
  VerifyReport verify(const VerifyOptions& options, const VerifyProgressHook& progress, bool structure_known);
  BackupReport backup(const std::filesystem::path& directory);

  Expired expire();
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor);
  Metrics metrics();
  /// Counts a decision of this thread.
  void count(ScopeKey scope, Verdict verdict) { reader().counters.count(scope.number, event_of(verdict)); }

  const std::filesystem::path& directory() const { return directory_; }
  /// Throws Error::options_mismatch or live_dir_mismatch when the options of a second open in this process contradict
  /// the first's.
  void check_options(const Options& options) const;
  /// Makes what the options set, and the store is not yet set to, the store's. For writers; waits for other writers.
  void change_settings(const Options& options);
  bool forked() const;
  /// What calls the event hook; null without one. Whoever deletes the engine closes it after that, once the store can
  /// be opened again: the hook may do that.
  std::shared_ptr<EventDispatch> event_dispatch() const { return events_ ? events_->dispatch() : nullptr; }

 private:
  std::uint64_t scope_seed(std::uint32_t scope) const { return MessageHash::scope_seed(identity_.hash_seed, scope); }

  friend class oncelog::Transaction;
  friend struct TransactionBody;

  static constexpr std::size_t kChunk = 64;  // Ids decided under one hold of the store's mutex.

  // The steps of opening, in their order.
  bool lock_store();
  void open_environment(bool alone);
  void open_tables(lmdb::Txn& txn, unsigned create);
  void upgrade(lmdb::WriteTxn& txn);
  std::filesystem::path live_dir_for(const Options& options) const;
  std::filesystem::path own_live_dir() const;
  std::filesystem::path former_live_dir() const;
  void choose_live_dir(const std::filesystem::path& former_dir, bool alone);
  void note_live_dir();
  void check_live_dir_owner() const;
  void join_pid_namespace(bool alone);
  void check_usable() const;
  void check_writable() const;
  Reader& reader();
  /// It is the message's processing, and within the retention.
  bool is_live(const Found& found) const { return found.is_message() && within_retention(found.time_us); }
  /// Whether a record of these flags is there, for who decides nothing by it. It may be committed and not yet say so:
  /// its transaction died in between, or is about to. The log's end tells.
  static bool exists(Reader& reader, std::uint32_t flags, Lsn lsn) {
    return (flags & kVoid) == 0 && ((flags & kUncommitted) == 0 || lsn < reader.log_end());
  }
  /// As is_live, by exists().
  bool is_known(Reader& reader, const Found& found) const {
    return (found.flags & kForgotten) == 0 && exists(reader, found.flags, found.lsn) && within_retention(found.time_us);
  }
  bool within_retention(std::int64_t time_us) const {
    return clock_->retention_us() < time_us + identity_.retention_us;
  }

  // What stops the holder of the store's mutex, who then lets go of it, meets the need, and looks again.
  enum class Need { none, newer_view, flush, bucket, table, settle, owner_check, token_epoch, lease };

  /// What was found out about owners of leases in the course of one call, without the mutex.
  struct Owners {
    std::vector<ProcessIdentity> alive;
    std::vector<ProcessIdentity> dead;
    std::optional<ProcessIdentity> asked;
    bool reaped = false;
  };

  /// Ids to decide on together, up to kChunk, and room for what is found out about them.
  struct Chunk {
    std::span<const Probe> probes;
    std::span<const Attributes> attributes;  // As many, or none.
    std::span<std::optional<Found>> found;
    std::span<Marked> out;
  };
  /// The end of an id's correlation chain.
  struct ChainEnd {
    Probe probe;
    std::optional<Found> found;
  };

  template <typename Policy>
  void decide(Reader& reader, const Chunk& chunk, Policy& policy);
  struct MarkPolicy;
  struct BeginPolicy;
  Marked decide_one(Reader& reader, const Probe& probe, const Attributes* attributes, auto& policy);
  void compare_attributes(Reader& reader, const Chunk& chunk) const;

  enum class LeaseState { held, takeable, unknown };
  LeaseState state_of(const Lease& lease, std::int64_t boot_us, Owners& owners) const;
  Need take_lease(Lease* lease, const Probe& probe, const ClaimTerms& terms, Owners& owners, std::uint64_t& token);
  std::int64_t deadline_us(std::chrono::milliseconds lease) const;
  ClaimOwner owner_of(const Lease& lease) const;
  template <typename Take>
  bool when_free(const Probe& probe, std::chrono::milliseconds patience, std::optional<ClaimOwner>& owner, Take take);
  template <typename Visit>
  void each_mortal_claim(Visit visit);
  void free_settled_claims_of(std::span<const ProcessIdentity> owners);
  void sleep_until_freed(const Probe& probe, std::chrono::steady_clock::time_point limit);
  void assign_token_epoch();

  Probe probe_of(ScopeKey scope, std::string_view id) const {
    return {id, scope.number, MessageHash(scope.hash_seed, id)};
  }
  /// As many probes as ids.
  void make_probes(Reader& reader, ScopeKey scope, std::span<const std::string_view> ids, std::span<Probe> out) const;
  Probe correlation_probe(std::string_view correlation) const {
    return {correlation, MessageHash::kCorrelationScope,
            MessageHash(scope_seed(MessageHash::kCorrelationScope), correlation), MessageHash::Of::correlation};
  }

  /// Takes the fresh marks of a refused call back. `probes` are those of its ids, `out` what became of them. Returns
  /// how many of them stand nevertheless.
  std::size_t take_back(std::span<const Probe> probes, std::span<const Marked> out);
  bool take_back(const Probe& probe, Lsn lsn);
  /// `reserved`: for a transaction, or a mark that is taken back, which may use the ring's reserve.
  Need prepare(const View& view, std::int64_t time_us, std::size_t bytes, std::uint64_t records = 1,
               bool reserved = false);
  Lsn append(Reader& reader, const View& view, const RecordDraft& draft, const MessageHash& hash, std::int64_t time_us,
             const ChainEnd* chain);
  [[noreturn]] void refuse_damaged_index() const;
  bool wants_bell(const View& view, Lsn head_before) const;
  void meet(Need need, Owners& owners);
  void check_not_in_transaction(const char* what) const;
  std::optional<Found> newest_of_chain(Reader& reader, const Probe& chain);
  Record to_record(const RecordView& view, Lsn lsn) const;
  Lsn head() const;
  /// Gives the host what this process has counted; returns that.
  Tally fold_tally();

  void verify_ring(VerifyReport& report, Lsn from, Lsn end, const VerifyOptions& options,
                   const std::function<void(const RecordView&, const MessageHash&, Lsn)>& look);

  const std::uint64_t process_;            // The process's fork generation.
  const std::filesystem::path directory_;  // Absolute: the process may go elsewhere.
  Options options_;
  const Host& host_;
  // In the order of their making; destroyed the other way round.
  std::optional<OpenLock> open_lock_;
  bool log_to_verify_ = false;  // data.mdb was shorter than LMDB says.
  std::optional<lmdb::Env> env_;
  std::optional<Log> log_;
  std::optional<Catalog> catalog_;
  std::atomic<bool> scopes_sealed_{false};  // All rows of scopes were read and are intact, see Catalog::seal_scopes.
  std::optional<UserTables> user_tables_;
  StoreIdentity identity_;
  Settings settings_;  // As they were stored when the store was opened.
  Uuid store_file_id_{};
  std::filesystem::path live_dir_;
  std::optional<SharedState> live_;
  std::optional<Clock> clock_;
  ProcessIdentity self_;
  BucketRules rules_{};
  std::optional<ViewCache> views_;
  std::shared_ptr<ReaderPool> readers_;
  std::optional<ProcessTally> tally_;
  std::optional<Upkeep> upkeep_;
  std::optional<EventWatch> events_;
  std::optional<Flusher> flusher_;
};

}  // namespace oncelog::internal
