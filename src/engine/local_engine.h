#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/exported.h"
#include "engine/accept.h"
#include "engine/claims.h"
#include "engine/decider.h"
#include "engine/engine.h"
#include "engine/lease_admin.h"
#include "engine/opened_store.h"
#include "engine/records.h"
#include "engine/transactions.h"

namespace oncelog::internal {

/// The engine of a store in a directory of this host: joins the parts. See registry.h for how one comes to be.
class LocalEngine final : public Engine {
 public:
  /// See OpenedStore for `events`.
  LocalEngine(const std::filesystem::path& directory, const Options& options, const Host& host,
              std::shared_ptr<EventDispatch> events);

  const Options& options() const override { return store_.options(); }
  ONCELOG_INTERNAL ScopeKey scope(std::string_view name) override;
  ONCELOG_INTERNAL std::vector<std::string> scopes() override;

  bool contains(ScopeKey scope, std::string_view id) override { return records_.contains(scope, id); }
  void contains(ScopeKey scope, std::span<const std::string_view> ids, std::span<bool> out) override {
    records_.contains(scope, ids, out);
  }
  bool contains(ScopeKey scope, std::string_view id, std::string_view correlation) override {
    return records_.contains(scope, id, correlation);
  }
  std::optional<Record> find(const ScopeRef& scope, std::string_view id) override { return records_.find(scope, id); }
  void find(const ScopeRef& scope, std::span<const std::string_view> ids,
            std::span<std::optional<Record>> out) override {
    records_.find(scope, ids, out);
  }
  std::vector<Record> correlated(std::string_view correlation) override { return records_.correlated(correlation); }
  void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) override {
    records_.scan(range, visitor);
  }
  Time known_since() const override { return store_.known_since(); }

  Marked mark(const ScopeRef& scope, std::string_view id, const Attributes& attributes, Ack ack) override {
    return decider_.mark(scope, id, attributes, ack);
  }
  void mark(const ScopeRef& scope, std::span<const std::string_view> ids, std::span<const Attributes> attributes,
            std::span<Marked> out, Ack ack) override {
    decider_.mark(scope, ids, attributes, out, ack);
  }
  Imported import(std::span<const Record> records) override;
  bool forget(ScopeKey scope, std::string_view id, Ack ack) override { return decider_.forget(scope, id, ack); }

  Begun begin(const ScopeRef& scope, std::string_view id, const Attributes& attributes, const ClaimTerms& terms,
              std::chrono::milliseconds patience, HeldLease& held) override {
    return claims_.begin(scope, id, attributes, terms, patience, held);
  }
  Lsn begin(const ScopeRef& scope, std::span<const std::string_view> ids, const ClaimTerms& terms,
            std::span<Verdict> out, std::vector<HeldLease>& held) override {
    return claims_.begin(scope, ids, terms, out, held);
  }
  bool wait_until_free(ScopeKey scope, std::string_view id, std::chrono::milliseconds patience) override {
    return claims_.wait_until_free(scope, id, patience);
  }
  Lsn complete(std::span<HeldLease> held, std::span<const Attributes> attributes, Ack) override {
    return claims_.complete(held, attributes);
  }
  bool renew(const HeldLease& held, std::chrono::milliseconds lease) override { return claims_.renew(held, lease); }
  void abandon(std::span<const HeldLease> held) override { claims_.abandon(held); }
  bool lock(std::string_view name, std::chrono::milliseconds lease, std::chrono::milliseconds patience, HeldLease& held,
            std::optional<ClaimOwner>& owner) override {
    return claims_.lock(name, lease, patience, held, owner);
  }
  void unlock(const HeldLease& held) override { claims_.let_go({&held, 1}); }
  bool release(ScopeKey scope, std::string_view id) override;
  std::vector<ClaimInfo> claims() override;

  Lsn durable() const override { return store_.durable(); }
  void wait(Lsn lsn) override;
  void wait_for_standing(Lsn lsn) override;
  void check_may_wait(Ack ack) const override;
  void sync() override;
  Expired expire() override;

  void transact(const std::function<void(Transaction&)>& work) override { transactions_.transact(work); }
  std::optional<std::string> get(std::string_view table, std::string_view key) override {
    return transactions_.get(table, key);
  }
  void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) override {
    transactions_.scan_table(table, from, visitor);
  }

  Metrics metrics() override;
  VerifyReport verify(const VerifyOptions& options, const VerifyProgressHook& progress) override {
    return verify(options, progress, false);
  }
  /// `structure_known`: the pages of data.mdb were found sound just now.
  VerifyReport verify(const VerifyOptions& options, const VerifyProgressHook& progress, bool structure_known);
  BackupReport backup(const std::filesystem::path& directory) override;

  /// For the registry: what several handles of one directory share, and when they end.
  OpenedStore& store() { return store_; }

 private:
  /// The store's background work: it calls the parts, so it ends before they do.
  class BackgroundWork {
   public:
    BackgroundWork(OpenedStore& store, LeaseAdmin& lease_admin);
    BackgroundWork(const BackgroundWork&) = delete;
    BackgroundWork& operator=(const BackgroundWork&) = delete;
    ~BackgroundWork() { store_.stop_background(); }

   private:
    OpenedStore& store_;
  };

  OpenedStore store_;
  std::atomic<bool> scopes_sealed_{false};  // All rows of scopes were read and are intact, see Catalog::seal_scopes.
  LeaseAdmin lease_admin_;
  Acceptor acceptor_;
  Records records_;
  Decider decider_;
  Claims claims_;
  Transactions transactions_;
  BackgroundWork background_;  // Last.
};

}  // namespace oncelog::internal
