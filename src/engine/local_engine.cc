#include "engine/local_engine.h"

#include <algorithm>
#include <utility>

#include "engine/durability.h"
#include "engine/import.h"
#include "engine/metrics.h"
#include "engine/verify.h"
#include "maintenance/backup.h"
#include "shared/argument_checks.h"
#include "shared/writer_gate.h"

namespace oncelog::internal {

LocalEngine::LocalEngine(const std::filesystem::path& directory, const Options& options, const Host& host,
                         std::shared_ptr<EventDispatch> events)
    : store_(directory, options, host, std::move(events)),
      lease_admin_(store_),
      acceptor_(store_, lease_admin_),
      records_(store_),
      decider_(store_, acceptor_),
      claims_(store_, acceptor_, lease_admin_, records_),
      transactions_(*this, store_, acceptor_, claims_),
      background_(store_, lease_admin_) {
  store_.finish_opening();
  if (!options.read_only) lease_admin_.free_own();
  store_.declare_open();
}

LocalEngine::BackgroundWork::BackgroundWork(OpenedStore& store, LeaseAdmin& lease_admin) : store_(store) {
  if (!store.options().read_only) store.start_background([&lease_admin] { lease_admin.reap(); });
}

ScopeKey LocalEngine::scope(std::string_view name) {
  store_.check_usable();
  check_scope_name(name);
  const Catalog& catalog = store_.catalog();
  const auto key = [this](std::uint32_t number) {
    store_.tally().know_scope(number);
    return ScopeKey{number, store_.scope_seed(number)};
  };
  {
    lmdb::ReadTxn& txn = store_.reader().txn();
    const lmdb::ReadTxn::Active active(txn);
    if (const auto known = catalog.scope(txn, name)) return key(*known);
    if (options().read_only) catalog.scopes(txn);  // Throws when it may be there under a damaged name.
  }
  if (options().read_only) return key(0);
  store_.check_not_in_transaction("the first use of a scope's name");
  const WriterGate gate(store_.header(), store_.directory());
  lmdb::WriteTxn txn(store_.env());
  // Relaxed: a thread that misses it reads the rows once more. Set after the commit, without which nothing is sealed.
  if (!scopes_sealed_.load(std::memory_order_relaxed)) catalog.seal_scopes(txn);
  const std::uint32_t number = catalog.add_scope(txn, name);
  txn.commit();
  scopes_sealed_.store(true, std::memory_order_relaxed);
  return key(number);
}

std::vector<std::string> LocalEngine::scopes() {
  store_.check_usable();
  const lmdb::Txn txn(store_.env(), MDB_RDONLY);
  auto numbered = store_.catalog().scopes(txn);
  std::ranges::sort(numbered);
  std::vector<std::string> names;
  names.reserve(numbered.size());
  for (auto& [number, name] : numbered) names.push_back(std::move(name));
  return names;
}

Imported LocalEngine::import(std::span<const Record> records) {
  return import_records(store_, acceptor_, records, [this](std::string_view name) { return scope(name); });
}

bool LocalEngine::release(ScopeKey scope, std::string_view id) {
  store_.check_writable();
  check_id(id);
  return lease_admin_.release(store_.probe(scope, id));
}

std::vector<ClaimInfo> LocalEngine::claims() {
  store_.check_usable();
  return lease_admin_.claims();
}

void LocalEngine::wait(Lsn lsn) {
  wait_for_disk(store_, lsn);
}

void LocalEngine::wait_for_standing(Lsn lsn) {
  internal::wait_for_standing(store_, lsn);
}

void LocalEngine::check_may_wait(Ack ack) const {
  internal::check_may_wait(store_, ack);
}

void LocalEngine::sync() {
  store_.check_writable();
  store_.check_not_in_transaction("sync");
  store_.flusher().drive(store_.head());
}

Expired LocalEngine::expire() {
  store_.check_writable();
  store_.check_not_in_transaction("expire");
  Expired expired;
  expired.buckets = store_.upkeep().expire();
  for (std::size_t trimmed = 1; trimmed != 0; expired.blocks += trimmed) trimmed = store_.flusher().flush();
  return expired;
}

Metrics LocalEngine::metrics() {
  return collect_metrics(store_);
}

VerifyReport LocalEngine::verify(const VerifyOptions& options, const VerifyProgressHook& progress,
                                 bool structure_known) {
  return verify_store(store_, options, progress, structure_known);
}

BackupReport LocalEngine::backup(const std::filesystem::path& directory) {
  store_.check_usable();
  store_.check_not_in_transaction("a backup");
  return write_backup(store_.env(), store_.directory(), directory, [this] {
    if (!options().read_only) store_.flusher().drive(store_.head());
    return store_.durable();
  });
}

}  // namespace oncelog::internal
