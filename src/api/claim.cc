#include <oncelog/claim.h>

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/error.h"
#include "engine/engine.h"
#include "shared/argument_checks.h"

namespace oncelog {
namespace {

/// For destructors. What keeps a lease from being freed is damaged shared memory; it ends with its time or its owner.
/// Memory is only needed to count it afterwards, in a thread that uses the store for the first time.
template <typename Free>
void quietly(Free free) noexcept {
  try {
    free();
  } catch (const std::exception&) {
  }
}

}  // namespace

Claim::Claim() = default;
Claim::Claim(Claim&& other) noexcept = default;

Claim& Claim::operator=(Claim&& other) noexcept {
  if (this == &other) return *this;
  abandon();
  engine_ = std::move(other.engine_);
  lease_ = std::move(other.lease_);
  verdict_ = other.verdict_;
  redelivered_ = other.redelivered_;
  ack_ = other.ack_;
  token_ = other.token_;
  record_ = std::move(other.record_);
  owner_ = other.owner_;
  return *this;
}

Claim::~Claim() {
  abandon();
}

Completed Claim::complete(const Attributes& attributes, Ack ack) {
  if (!lease_) internal::refuse("a claim that is not held cannot be completed");
  engine_->check_may_wait(ack);
  const Attributes all = lease_->merged(attributes);
  internal::HeldLease& lease = lease_->lease;
  const Lsn lsn = engine_->complete(std::span(&lease, 1), std::span(&all, 1), ack);
  const bool in_time = lease.token != 0;
  lease_.reset();
  if (in_time && ack == Ack::disk) engine_->wait_for_standing(lsn);
  return {in_time, lsn};
}

void Claim::abandon() noexcept {
  if (!lease_) return;
  if (lease_->lease.token != 0) quietly([this] { engine_->abandon(std::span(&lease_->lease, 1)); });
  lease_.reset();
}

bool Claim::keep_alive(std::chrono::milliseconds most) {
  internal::check_lease(most);
  if (!lease_) return false;
  lease_->kept.reset();
  // Now: it may be about to expire.
  if (!engine_->renew(lease_->lease, std::min(lease_->length, most))) return false;
  keep(most);
  return true;
}

void Claim::keep(std::chrono::milliseconds most) {
  lease_->kept = std::make_shared<internal::Renewals::Kept>(engine_->renewals(), lease_->lease, lease_->length, most);
}

bool Claim::renew(std::chrono::milliseconds lease) {
  return lease_ && engine_->renew(lease_->lease, lease);
}

ClaimBatch::ClaimBatch() = default;
ClaimBatch::ClaimBatch(ClaimBatch&& other) noexcept = default;

ClaimBatch& ClaimBatch::operator=(ClaimBatch&& other) noexcept {
  if (this == &other) return *this;
  abandon();
  engine_ = std::move(other.engine_);
  held_ = std::move(other.held_);
  verdicts_ = std::move(other.verdicts_);
  newest_ = other.newest_;
  return *this;
}

ClaimBatch::~ClaimBatch() {
  abandon();
}

Lsn ClaimBatch::complete(std::size_t* late) {
  if (!held_) internal::refuse("a batch of claims that is not held cannot be completed");
  newest_ = std::max(newest_, engine_->complete(held_->leases, {}, Ack::host));
  if (late != nullptr) {
    *late = static_cast<std::size_t>(std::ranges::count(held_->leases, 0U, &internal::HeldLease::token));
  }
  held_.reset();
  return newest_;
}

void ClaimBatch::abandon_from(std::size_t position) noexcept {
  if (!held_ || position >= verdicts_.size()) return;
  verdicts_.resize(position);
  // The leases are the fresh ids', in order.
  const auto kept = static_cast<std::size_t>(std::ranges::count(verdicts_, Verdict::fresh));
  quietly([&] { engine_->abandon(std::span(held_->leases).subspan(kept)); });
  held_->leases.resize(kept);
}

void ClaimBatch::abandon() noexcept {
  if (!held_) return;
  quietly([this] { engine_->abandon(held_->leases); });
  held_.reset();
}

Lock::Lock() = default;
Lock::Lock(Lock&& other) noexcept = default;

Lock& Lock::operator=(Lock&& other) noexcept {
  if (this == &other) return *this;
  release();
  engine_ = std::move(other.engine_);
  lease_ = std::move(other.lease_);
  token_ = other.token_;
  owner_ = other.owner_;
  return *this;
}

Lock::~Lock() {
  release();
}

bool Lock::renew(std::chrono::milliseconds lease) {
  return lease_ && engine_->renew(lease_->lease, lease);
}

void Lock::release() noexcept {
  if (!lease_) return;
  quietly([this] { engine_->unlock(lease_->lease); });
  lease_.reset();
}

}  // namespace oncelog
