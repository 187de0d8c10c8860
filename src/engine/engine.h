#pragma once

#include <chrono>
#include <cstddef>
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

#include "engine/renewals.h"
#include "shared/held_lease.h"

struct pg_conn;

namespace oncelog::internal {

/// A scope as a call names it. A value; the name is the caller's.
struct ScopeRef {
  ScopeKey key;
  std::string_view name;
};

/// How a claim is taken.
struct ClaimTerms {
  std::chrono::milliseconds lease{0};
  OrphanPolicy orphans = OrphanPolicy::free_at_once;
};

/// What became of an attempt to claim an id.
struct Begun {
  Marked marked;
  std::optional<Record> record;     // Of a duplicate or conflict.
  std::optional<ClaimOwner> owner;  // For in_progress.
};

/// A transaction from its function's point of view, behind oncelog::Transaction. One thread.
class TransactionBody {
 public:
  explicit TransactionBody(const Engine& engine) : engine_(engine) {}
  TransactionBody(const TransactionBody&) = delete;
  TransactionBody& operator=(const TransactionBody&) = delete;
  virtual ~TransactionBody() = default;

  bool is_of(const Engine& engine) const { return &engine == &engine_; }
  virtual Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes) = 0;
  /// False when it came too late. Resets the claim either way; an argument that is refused leaves it.
  virtual bool complete(std::unique_ptr<HeldClaim>& claim, const Attributes& attributes) = 0;
  virtual void put(std::string_view table, std::string_view key, std::string_view value) = 0;
  virtual std::optional<std::string_view> get(std::string_view table, std::string_view key) const = 0;
  virtual bool erase(std::string_view table, std::string_view key) = 0;
  virtual void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) const = 0;

  /// The connection that it runs on, where there is one: libpq's.
  virtual pg_conn* connection() noexcept { return nullptr; }
  static TransactionBody& of(const Transaction& transaction) { return transaction.body_; }

 protected:
  /// Calls the user's function with a Transaction on this body.
  void run(const std::function<void(Transaction&)>& work) {
    Transaction transaction(*this);
    work(transaction);
  }

 private:
  const Engine& engine_;
};

/// One open store behind all of its handles: what the public classes call. Its functions promise what those of Scope,
/// Store, Claim, ClaimBatch and Lock promise that are named alike, verdicts, errors and hooks included; the public
/// classes add only what a handle owns.
///
/// Thread safety: all of it. A hook may destroy the last handle of the store: the caller of an engine that has hooks
/// keeps it alive until the call returns.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  virtual const Options& options() const = 0;

  /// The scope of that name, numbered on first use; number 0 when a read-only store does not know the name.
  virtual ScopeKey scope(std::string_view name) = 0;
  virtual std::vector<std::string> scopes() = 0;

  // --- Checks
  virtual bool contains(ScopeKey scope, std::string_view id) = 0;
  virtual void contains(ScopeKey scope, std::span<const std::string_view> ids, std::span<bool> out) = 0;
  virtual bool contains(ScopeKey scope, std::string_view id, std::string_view correlation) = 0;
  virtual std::optional<Record> find(const ScopeRef& scope, std::string_view id) = 0;
  virtual void find(const ScopeRef& scope, std::span<const std::string_view> ids,
                    std::span<std::optional<Record>> out) = 0;
  virtual std::vector<Record> correlated(std::string_view correlation) = 0;
  virtual void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) = 0;
  virtual Time known_since() const = 0;

  // --- Marks
  virtual Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes, Ack ack) = 0;
  /// `attributes` are as many as ids, or none; `out` as many.
  virtual void mark(const ScopeRef& scope, std::span<const std::string_view> ids,
                    std::span<const Attributes> attributes, std::span<Marked> out, Ack ack) = 0;
  virtual bool forget(ScopeKey scope, std::string_view id, Ack ack) = 0;

  /// Records with their own time; see Store::import.
  virtual Imported import(std::span<const Record> records) = 0;

  // --- Claims and locks
  /// `id` outlives `held`, which is filled when the verdict is fresh.
  virtual Begun begin(const ScopeRef& scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
                      std::chrono::milliseconds patience, HeldLease& held) = 0;
  /// For each id in order its verdict, and what is held of it; returns the newest LSN of the duplicates.
  virtual Lsn begin(const ScopeRef& scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
                    std::span<Verdict> out, std::vector<HeldLease>& held) = 0;
  virtual bool wait_until_free(ScopeKey scope, std::string_view id, std::chrono::milliseconds patience) = 0;
  /// Marks what is held and ends it; those that came too late have token 0 afterwards. attributes[i] for held[i], none
  /// when empty. Returns the newest LSN of the records. After an error it may be called again, for the rest. With
  /// Ack::disk the caller goes on to wait_for_standing(); a server has to be told of it beforehand.
  virtual Lsn complete(std::span<HeldLease> held, std::span<const Attributes> attributes, Ack ack) = 0;
  virtual bool renew(const HeldLease& held, std::chrono::milliseconds lease) = 0;
  /// Frees claims of one scope, which counts them as abandoned.
  virtual void abandon(std::span<const HeldLease> held) = 0;
  /// `name` outlives `held`.
  virtual bool lock(std::string_view name, std::chrono::milliseconds lease, std::chrono::milliseconds patience,
                    HeldLease& held, std::optional<ClaimOwner>& owner) = 0;
  virtual void unlock(const HeldLease& held) = 0;
  /// Of claims whose work takes longer.
  Renewals& renewals() { return renewals_; }
  virtual bool release(ScopeKey scope, std::string_view id) = 0;
  virtual std::vector<ClaimInfo> claims() = 0;

  // --- The disk
  virtual Lsn durable() const = 0;
  virtual void wait(Lsn lsn) = 0;
  /// wait() for a record that stands whatever comes; the Error says so.
  virtual void wait_for_standing(Lsn lsn) = 0;
  /// Throws Error::invalid_argument when what is about to be accepted could not be waited for.
  virtual void check_may_wait(Ack ack) const = 0;
  virtual void sync() = 0;
  virtual Expired expire() = 0;

  // --- Transactions and the user's tables
  virtual void transact(const std::function<void(Transaction&)>& work) = 0;
  virtual std::optional<std::string> get(std::string_view table, std::string_view key) = 0;
  virtual void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) = 0;

  // --- Operations
  virtual Metrics metrics() = 0;
  virtual VerifyReport verify(const VerifyOptions& options, const VerifyProgressHook& progress) = 0;
  virtual BackupReport backup(const std::filesystem::path& directory) = 0;

 private:
  // Outlives the rest of the engine, and does nothing then: whoever holds a claim holds the engine.
  Renewals renewals_{*this};
};

}  // namespace oncelog::internal
