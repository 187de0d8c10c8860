#include <oncelog/scope.h>

#include <algorithm>

#include "engine/engine.h"

namespace oncelog {
namespace {

void check_sizes(std::size_t ids, std::size_t out) {
  if (ids != out) throw Error(ErrorCode::invalid_argument, "a batch's answers need a span as long as its ids");
}

}  // namespace

Scope::Scope(std::shared_ptr<internal::Engine> engine, std::string name, Ack ack, const ScopeOptions& options)
    : engine_(std::move(engine)), name_(std::move(name)), key_(engine_->scope(name_)), ack_(ack), options_(options) {}

internal::ScopeKey Scope::key() const {
  if (key_.number != 0) [[likely]]
    return key_;
  return engine_->scope(name_);  // Some process may have used the name for the first time since.
}

std::optional<Record> Scope::to_record(std::string_view id, const internal::Found& found) const {
  if ((found.flags & internal::kHasAttributes) == 0) {
    return Record{name_, std::string(id), Time{std::chrono::microseconds{found.time_us}}, found.lsn};
  }
  auto record = engine_->record_at(found.lsn);  // Nothing when it has expired since.
  if (record) record->scope = name_;
  return record;
}

void Scope::tell(std::span<const std::string_view> ids, std::span<const Attributes> attributes,
                 std::span<const Marked> marked) const {
  if (!engine_->options().on_decision) [[likely]]
    return;
  // The hook may destroy this handle, and with it the last one of the store.
  const auto engine = engine_;
  const std::string name = name_;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const std::string_view correlation = attributes.empty() ? std::string_view{} : attributes[i].correlation;
    Decision decision{marked[i].verdict, name, ids[i], correlation, std::nullopt};
    if ((marked[i] == Verdict::duplicate || marked[i] == Verdict::conflict) && marked[i].lsn.value != 0) {
      if (const auto record = engine->record_at(marked[i].lsn)) decision.first_seen = record->processed_at;
    }
    engine->options().on_decision(decision);
  }
}

bool Scope::contains(std::string_view id) const {
  return engine_->find(key(), id).has_value();
}

void Scope::contains(std::span<const std::string_view> ids, std::span<bool> out) const {
  check_sizes(ids.size(), out.size());
  std::ranges::fill(out, false);
  engine_->find(key(), ids, [&](std::size_t i, const internal::Found&) { out[i] = true; });
}

bool Scope::contains(std::string_view id, std::string_view correlation) const {
  return engine_->contains(key(), id, correlation);
}

std::optional<Record> Scope::find(std::string_view id) const {
  const auto found = engine_->find(key(), id);
  return found ? to_record(id, *found) : std::nullopt;
}

void Scope::find(std::span<const std::string_view> ids, std::span<std::optional<Record>> out) const {
  check_sizes(ids.size(), out.size());
  std::ranges::fill(out, std::nullopt);
  engine_->find(key(), ids, [&](std::size_t i, const internal::Found& found) { out[i] = to_record(ids[i], found); });
}

Marked Scope::mark(std::string_view id, const Attributes& attributes, Ack ack) const {
  const Marked marked = engine_->mark(key(), id, attributes, ack);
  tell(id, attributes, marked);
  return marked;
}

void Scope::mark(std::span<const std::string_view> ids, std::span<const Attributes> attributes, std::span<Marked> out,
                 Ack ack) const {
  check_sizes(ids.size(), out.size());
  if (!attributes.empty()) check_sizes(ids.size(), attributes.size());
  engine_->mark(key(), ids, attributes, out, ack);
  tell(ids, attributes, out);
}

Claim Scope::begin(std::string_view id, std::chrono::milliseconds lease, const Attributes& attributes,
                   std::chrono::milliseconds patience) const {
  Claim claim;
  auto held = std::make_unique<internal::HeldClaim>();
  // All texts first: once the id is claimed nothing may fail before the claim is somebody's.
  held->id = id;
  held->correlation = attributes.correlation;
  held->fingerprint = attributes.fingerprint;
  held->source = {std::string(attributes.source.name), attributes.source.partition, attributes.source.offset};
  const internal::ScopeKey scope = key();
  const Marked marked =
      engine_->begin(scope, held->id, attributes, {lease, options_.orphans}, patience, held->lease, claim.owner_);
  claim.engine_ = engine_;
  claim.ack_ = ack_;
  claim.verdict_ = marked.verdict;
  claim.redelivered_ = marked.redelivered;
  if (marked == Verdict::fresh) {
    claim.token_ = held->lease.token;
    claim.lease_ = std::move(held);
  } else if (marked.lsn.value != 0) {
    claim.record_ = engine_->record_at(marked.lsn);
    if (claim.record_) claim.record_->scope = name_;
  }
  engine_->count(scope, marked.verdict);
  tell(id, attributes, marked);
  return claim;
}

ClaimBatch Scope::begin(std::span<const std::string_view> ids, std::chrono::milliseconds lease) const {
  ClaimBatch batch;
  batch.engine_ = engine_;
  batch.held_ = std::make_unique<internal::HeldBatch>();
  batch.verdicts_.resize(ids.size());
  internal::HeldBatch& held = *batch.held_;
  std::vector<Lsn> lsns(engine_->options().on_decision ? ids.size() : 0);
  batch.newest_ = engine_->begin(key(), ids, {lease, options_.orphans}, batch.verdicts_, lsns, held.leases);
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
  if (!lsns.empty()) {
    std::vector<Marked> marked(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) marked[i] = {batch.verdicts_[i], lsns[i]};
    tell(ids, {}, marked);
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
