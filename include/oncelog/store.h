#pragma once

/// @file
/// A store: opening, waiting, transactions, locks, and what operators need.

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/backup.h>
#include <oncelog/claim_info.h>
#include <oncelog/metrics.h>
#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/scan.h>
#include <oncelog/scope.h>
#include <oncelog/transaction.h>
#include <oncelog/verify.h>
#include <oncelog/version.h>

namespace oncelog {

/// A processed-message log: a directory with an LMDB environment (the truth) and shared memory (all derived from it).
///
/// A Store is a cheap handle on the process's one engine for that directory. It may be copied and used from many
/// threads at once, and the directory may be open in many processes at once. The last handle on it, be it a Store,
/// Scope, Claim, ClaimBatch or Lock, flushes and closes. It cannot report an error then: call sync() first if you want
/// to know.
///
/// A store must not be used in a child after fork(): every call there is ErrorCode::forked. Calls that accept
/// something, wait or flush are ErrorCode::read_only for a store opened with Options::read_only.
class ONCELOG_API Store {
 public:
  /// Opens the store at `directory`, creating it (and the directory) where Options::create allows. Microseconds when
  /// the shared memory is there; after a reboot it is rebuilt first, from hints that are kept on disk and, for what
  /// they lack, from the log, by a thread for each processor that the process may use, 16 at most: some 5 million
  /// records a second on 2 cores.
  ///
  /// Errors: not_found, not_a_store, newer_format, options_mismatch, live_dir_mismatch, in_use, no_permission,
  /// unsupported, corrupt, full, io; invalid_argument for an option outside its range.
  static Store open(const std::filesystem::path& directory, const Options& options = {});

  /// The id space of that name, 1 to kMaxScopeBytes bytes. The first use of a name ever commits it to disk (about 1
  /// ms), which is invalid_argument within a transaction. Later uses cost a look-up in LMDB: keep the handle.
  Scope scope(std::string_view name, const ScopeOptions& options = {}) const;

  /// The names of all scopes that were ever used, oldest first.
  std::vector<std::string> scopes() const;

  /// Every record whose LSN is below this is on disk: what a consumer may acknowledge to its broker. Takes some
  /// nanoseconds.
  Lsn durable() const;

  /// Returns when the record at `lsn` is on disk, flushing now instead of at the next interval. Errors: io, full;
  /// invalid_argument when there is no such record yet, or within a transaction; read_only when it is not on disk yet
  /// and this handle may not flush.
  void wait(Lsn lsn) const;

  /// Returns when every mark that returned before the call is on disk, this process's and others'. Errors: io, full,
  /// read_only; invalid_argument within a transaction.
  void sync() const;

  /// Runs `work` and commits what it did with the Transaction, fsynced: effects and marks together. When `work` throws,
  /// the process dies or the commit fails, neither is there. Let the exception propagate: what `work` throws reaches
  /// the caller.
  ///
  /// One transaction at a time over all processes, and no flush meanwhile: be brief. Within `work`, other calls of this
  /// store that have to write to disk (sync, wait, a new scope's name, transact) are ErrorCode::invalid_argument. The
  /// marks' records may take an eighth of Options::ring_bytes and a thirty-second of Options::max_bytes in all.
  ///
  /// A transaction of another store may be within `work`. Begin them in the same order everywhere. Where two wait for
  /// each other, in one process or two, and for any such wait of 10 seconds, the inner call is ErrorCode::in_use. When
  /// that exception propagates out of `work`, neither transaction's effects nor marks are there.
  ///
  /// Costs one LMDB commit with its fsync. Errors: full, io; in_use, also when an operator has released a claim that
  /// the transaction completes; what `work` throws.
  void transact(const std::function<void(Transaction&)>& work) const;

  /// The value of a user table's key, as of the newest commit. Takes no lock.
  std::optional<std::string> get(std::string_view table, std::string_view key) const;
  /// Visits the entries of a user table from key `from` on, in the order of their bytes, as of one commit. Pins that
  /// commit's pages as long as it runs.
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) const;

  /// All live records of a correlation over all scopes, oldest first. Costs a look-up for each, whatever the log's
  /// size.
  std::vector<Record> correlated(std::string_view correlation) const;

  /// The moment since when every processed id is remembered: the retention's edge, or later: when Options::max_bytes
  /// has made the store forget early, or after a wall clock that ran ahead for a while.
  Time known_since() const;

  /// A named lock of this store, 1 to kMaxIdBytes bytes, for `lease` from now (1 ms to 100 years). Waits up to
  /// `patience` while another one holds it; the Lock is false if it does then. Names live in a namespace of their own:
  /// a lock never conflicts with an id. Costs as Scope::begin. Errors: those of Scope::begin.
  Lock lock(std::string_view name, std::chrono::milliseconds lease, std::chrono::milliseconds patience = {}) const;

  /// For operators: what is claimed and locked now, by ascending token.
  std::vector<ClaimInfo> claims() const;

  /// Reclaims the space of all that is past its retention, now; the flusher does so by itself in small steps. Reclaims
  /// space only: verdicts do not depend on it. Errors: full, io, read_only; invalid_argument within a transaction.
  Expired expire() const;

  /// Visits all live records of the range in the order in which this store has got them, until the visitor returns
  /// false. Pins no space while it runs. Sees every record that was there when it began, and perhaps later ones.
  /// Errors: corrupt, io; what the visitor throws.
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) const;

  /// Takes over what was processed in another store: scope, id, processed_at, correlation, fingerprint, result and
  /// source of each record, in order; its LSN is a new one. The id stays a duplicate until its processed_at + this
  /// store's retention. Others may use the store meanwhile. A record again does no harm: an id that is known stays as
  /// it is. Imported says what happens to ids that are claimed, past the retention, or of the future. Neither decisions
  /// nor hooks are reported. After an Error some of the records may be imported; import all of them again.
  ///
  /// Survives what Ack::host says; sync() has it on disk. The first import makes a store on disk one that earlier
  /// versions of this library refuse to open. An imported record takes 8 bytes more.
  ///
  /// Errors: those of Scope::mark; invalid_argument for a record that is a note of a forgotten id, or of a time before
  /// 1970, and within a transaction.
  Imported import(std::span<const Record> records) const;

  /// The store's figures; see Metrics. Adds this process's counts to the host's.
  Metrics metrics() const;

  /// Compares what is on disk and, by VerifyOptions::deep, in shared memory with what it should be; see verify.h. Reads
  /// only, from the data.mdb that LMDB has mapped here already. To look at a store that may be damaged badly enough to
  /// crash LMDB, call oncelog::verify on its directory before it is opened. Some 10 million records a second.
  VerifyReport verify(const VerifyOptions& options = {}, const VerifyProgressHook& progress = {}) const;

  /// Copies the store into the new or empty directory `directory` while it is used, as of one moment: everything that
  /// was marked before the call or, where this handle is read_only, what is on disk. The copy is densely packed and
  /// fsynced, and appears under its name when it is complete. Nothing is ever overwritten. See backup.h for how to
  /// continue with it. Pins that moment's pages for as long as it takes (some 500 MB/s from memory), so that data.mdb
  /// may grow meanwhile.
  ///
  /// Errors: invalid_argument when `directory` is not empty, or within a transaction; corrupt when data.mdb's structure
  /// is damaged; full, no_permission, io.
  BackupReport backup(const std::filesystem::path& directory) const;

 private:
  friend struct StoreAccess;
  Store(std::shared_ptr<internal::Engine> engine, Ack ack);

  std::shared_ptr<internal::Engine> engine_;
  Ack ack_;
};

}  // namespace oncelog
