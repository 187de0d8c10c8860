#include <oncelog/scope.h>

#include <algorithm>

#include "base/error.h"
#include "engine/engine.h"

namespace oncelog {
namespace {

void check_sizes(std::size_t ids, std::size_t out) {
  if (ids != out) internal::refuse("a batch's answers need a span as long as its ids");
}

}  // namespace

Scope::Scope(std::shared_ptr<internal::Engine> engine, std::string name, Ack ack, const ScopeOptions& options)
    : engine_(std::move(engine)), name_(std::move(name)), key_(engine_->scope(name_)), ack_(ack), options_(options) {}

internal::ScopeKey Scope::key() const {
  if (key_.number != 0) [[likely]]
    return key_;
  return engine_->scope(name_);  // Some process may have used the name for the first time since.
}

/// Keeps the engine for the length of a call whose hook may destroy this handle, and with it the store's last one.
std::shared_ptr<internal::Engine> Scope::kept() const {
  if (!engine_->options().on_decision) [[likely]]
    return nullptr;
  return engine_;
}

bool Scope::contains(std::string_view id) const {
  return engine_->contains(key(), id);
}

void Scope::contains(std::span<const std::string_view> ids, std::span<bool> out) const {
  check_sizes(ids.size(), out.size());
  engine_->contains(key(), ids, out);
}

bool Scope::contains(std::string_view id, std::string_view correlation) const {
  return engine_->contains(key(), id, correlation);
}

std::optional<Record> Scope::find(std::string_view id) const {
  return engine_->find({key(), name_}, id);
}

void Scope::find(std::span<const std::string_view> ids, std::span<std::optional<Record>> out) const {
  check_sizes(ids.size(), out.size());
  engine_->find({key(), name_}, ids, out);
}

Marked Scope::mark(std::string_view id, const Attributes& attributes, Ack ack) const {
  const auto keep = kept();
  return engine_->mark({key(), name_}, id, attributes, ack);
}

void Scope::mark(std::span<const std::string_view> ids, std::span<const Attributes> attributes, std::span<Marked> out,
                 Ack ack) const {
  check_sizes(ids.size(), out.size());
  if (!attributes.empty()) check_sizes(ids.size(), attributes.size());
  const auto keep = kept();
  engine_->mark({key(), name_}, ids, attributes, out, ack);
}

Claim Scope::begin(std::string_view id, std::chrono::milliseconds lease, const Attributes& attributes,
                   std::chrono::milliseconds patience) const {
  // All texts first: once the id is claimed nothing may fail before the claim is somebody's.
  Claim claim;
  claim.engine_ = engine_;
  claim.ack_ = ack_;
  claim.lease_ = std::make_unique<internal::HeldClaim>();
  internal::HeldClaim& held = *claim.lease_;
  held.id = id;
  held.length = lease;
  held.correlation = attributes.correlation;
  held.fingerprint = attributes.fingerprint;
  held.source = {std::string(attributes.source.name), attributes.source.partition, attributes.source.offset};
  // Should the hook throw, the claim gives up what it holds.
  internal::Begun begun =
      claim.engine_->begin({key(), name_}, held.id, attributes, {lease, options_.orphans}, patience, held.lease);
  claim.verdict_ = begun.marked.verdict;
  claim.redelivered_ = begun.marked.redelivered;
  claim.record_ = std::move(begun.record);
  claim.owner_ = begun.owner;
  claim.token_ = held.lease.token;
  if (begun.marked != Verdict::fresh) claim.lease_.reset();
  return claim;
}

ClaimBatch Scope::begin(std::span<const std::string_view> ids, std::chrono::milliseconds lease) const {
  ClaimBatch batch;
  batch.engine_ = engine_;
  batch.held_ = std::make_unique<internal::HeldBatch>();
  batch.verdicts_.resize(ids.size());
  internal::HeldBatch& held = *batch.held_;
  // Should the hook throw, the batch gives up what it holds.
  batch.newest_ = batch.engine_->begin({key(), name_}, ids, {lease, options_.orphans}, batch.verdicts_, held.leases);
  // The claims outlive the caller's ids.
  std::size_t bytes = 0;
  for (const auto& one : held.leases) bytes += one.id.size();
  held.ids = std::make_unique_for_overwrite<char[]>(bytes);
  char* at = held.ids.get();
  for (auto& one : held.leases) {
    char* const end = std::ranges::copy(one.id, at).out;
    one.id = {at, one.id.size()};
    at = end;
  }
  return batch;
}

bool Scope::wait_until_free(std::string_view id, std::chrono::milliseconds patience) const {
  return engine_->wait_until_free(key(), id, patience);
}

bool Scope::forget(std::string_view id, Ack ack) const {
  return engine_->forget(key(), id, ack);
}

bool Scope::release(std::string_view id) const {
  return engine_->release(key(), id);
}

}  // namespace oncelog
