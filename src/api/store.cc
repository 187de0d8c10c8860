#include <oncelog/store.h>

#include "api/store_access.h"
#include "engine/engine.h"
#include "engine/local_engine.h"
#include "engine/registry.h"
#include "engine/verify_directory.h"
#include "maintenance/backup.h"

namespace oncelog {

Store::Store(std::shared_ptr<internal::Engine> engine, Ack ack) : engine_(std::move(engine)), ack_(ack) {}

Store Store::open(const std::filesystem::path& directory, const Options& options) {
  return StoreAccess::open(directory, options, internal::Host::system());
}

Scope Store::scope(std::string_view name, const ScopeOptions& options) const {
  return Scope(engine_, std::string(name), ack_, options);
}

std::vector<std::string> Store::scopes() const {
  return engine_->scopes();
}

Lsn Store::durable() const {
  return engine_->durable();
}

void Store::wait(Lsn lsn) const {
  engine_->wait(lsn);
}

void Store::sync() const {
  engine_->sync();
}

void Store::transact(const std::function<void(Transaction&)>& work) const {
  const auto engine = engine_;  // The work may destroy the last handle.
  engine->transact(work);
}

std::optional<std::string> Store::get(std::string_view table, std::string_view key) const {
  return engine_->get(table, key);
}

void Store::scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) const {
  const auto engine = engine_;  // The visitor may destroy the last handle.
  engine->scan_table(table, from, visitor);
}

std::vector<Record> Store::correlated(std::string_view correlation) const {
  return engine_->correlated(correlation);
}

Time Store::known_since() const {
  return engine_->known_since();
}

Lock Store::lock(std::string_view name, std::chrono::milliseconds lease, std::chrono::milliseconds patience) const {
  Lock lock;
  auto held = std::make_unique<internal::HeldClaim>();
  held->id = name;
  if (engine_->lock(held->id, lease, patience, held->lease, lock.owner_)) {
    lock.token_ = held->lease.token;
    lock.lease_ = std::move(held);
  }
  lock.engine_ = engine_;
  return lock;
}

std::vector<ClaimInfo> Store::claims() const {
  return engine_->claims();
}

Expired Store::expire() const {
  return engine_->expire();
}

void Store::scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) const {
  const auto engine = engine_;  // The visitor may destroy the last handle.
  engine->scan(range, visitor);
}

Imported Store::import(std::span<const Record> records) const {
  return engine_->import(records);
}

Metrics Store::metrics() const {
  return engine_->metrics();
}

VerifyReport Store::verify(const VerifyOptions& options, const VerifyProgressHook& progress) const {
  return engine_->verify(options, progress);
}

BackupReport Store::backup(const std::filesystem::path& directory) const {
  return engine_->backup(directory);
}

VerifyReport verify(const std::filesystem::path& directory, const VerifyOptions& options,
                    const VerifyProgressHook& progress) {
  return internal::verify_directory(directory, options, progress);
}

RestoreReport restore(const std::filesystem::path& backup, const std::filesystem::path& directory,
                      const RestoreOptions& options) {
  return internal::restore_backup(backup, directory, options, internal::Host::system());
}

Store StoreAccess::open(const std::filesystem::path& directory, const Options& options, const internal::Host& host) {
  return Store(internal::open_engine(directory, options, host), options.ack);
}

Store StoreAccess::on(std::shared_ptr<internal::Engine> engine, Ack ack) {
  return Store(std::move(engine), ack);
}

RestoreReport StoreAccess::restore(const std::filesystem::path& backup, const std::filesystem::path& directory,
                                   const RestoreOptions& options, const internal::Host& host) {
  return internal::restore_backup(backup, directory, options, host);
}

}  // namespace oncelog
