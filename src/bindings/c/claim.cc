#include <oncelog/claim.h>

#include <chrono>
#include <cstdint>

#include "bindings/c/handles.h"

using namespace oncelog::internal::c;
using std::chrono::milliseconds;

namespace oncelog::internal::c {

int give_owner(const std::optional<ClaimOwner>& found, oncelog_owner* owner) noexcept {
  if (!found) return 0;
  return call(nullptr,
              [&] {
                need(owner, "owner");
                oncelog_owner shown = {};
                shown.deadline_us = us_of(found->deadline);
                shown.process = found->process;
                Output(owner, "oncelog_owner").fill(shown);
              }) == ONCELOG_OK
             ? 1
             : 0;
}

}  // namespace oncelog::internal::c

oncelog_verdict oncelog_claim_verdict(const oncelog_claim* claim) {
  return static_cast<oncelog_verdict>(claim->claim.verdict());
}

int oncelog_claim_held(const oncelog_claim* claim) {
  return claim->claim ? 1 : 0;
}

uint64_t oncelog_claim_token(const oncelog_claim* claim) {
  return claim->claim.token();
}

int oncelog_claim_redelivered(const oncelog_claim* claim) {
  return claim->claim.redelivered() ? 1 : 0;
}

const oncelog_record* oncelog_claim_record(const oncelog_claim* claim) {
  return claim->claim.record() ? &claim->record : nullptr;
}

int oncelog_claim_owner(const oncelog_claim* claim, oncelog_owner* owner) {
  return give_owner(claim->claim.owner(), owner);
}

oncelog_code oncelog_claim_complete(oncelog_claim* claim, const oncelog_attributes* attributes, oncelog_ack ack,
                                    uint8_t* in_time, uint64_t* lsn, oncelog_error** error) {
  return call(error, [&] {
    need(claim, "claim");
    const oncelog::Completed completed = claim->claim.complete(attributes_of(attributes), ack_of(ack, claim->ack));
    give(in_time, completed.in_time ? 1 : 0);
    give(lsn, completed.lsn.value);
  });
}

oncelog_code oncelog_claim_renew(oncelog_claim* claim, int64_t lease_ms, uint8_t* held, oncelog_error** error) {
  return call(error, [&] {
    need(claim, "claim");
    give(held, claim->claim.renew(milliseconds{lease_ms}) ? 1 : 0);
  });
}

oncelog_code oncelog_claim_keep_alive(oncelog_claim* claim, int64_t most_ms, uint8_t* held, oncelog_error** error) {
  return call(error, [&] {
    need(claim, "claim");
    give(held, claim->claim.keep_alive(milliseconds{most_ms}) ? 1 : 0);
  });
}

void oncelog_claim_abandon(oncelog_claim* claim) {
  claim->claim.abandon();
}

void oncelog_claim_free(oncelog_claim* claim) {
  delete claim;
}

const oncelog_verdict* oncelog_claim_batch_verdicts(const oncelog_claim_batch* batch, size_t* count) {
  const auto verdicts = batch->batch.verdicts();
  static_assert(sizeof(oncelog::Verdict) == sizeof(oncelog_verdict));
  give(count, verdicts.size());
  return reinterpret_cast<const oncelog_verdict*>(verdicts.data());
}

oncelog_code oncelog_claim_batch_complete(oncelog_claim_batch* batch, size_t* late, uint64_t* newest,
                                          oncelog_error** error) {
  return call(error, [&] {
    need(batch, "batch");
    std::size_t lost = 0;
    const oncelog::Lsn lsn = batch->batch.complete(&lost);
    give(late, lost);
    give(newest, lsn.value);
  });
}

void oncelog_claim_batch_abandon_from(oncelog_claim_batch* batch, size_t position) {
  batch->batch.abandon_from(position);
}

void oncelog_claim_batch_abandon(oncelog_claim_batch* batch) {
  batch->batch.abandon();
}

void oncelog_claim_batch_free(oncelog_claim_batch* batch) {
  delete batch;
}

oncelog_code oncelog_lock_acquire(const oncelog_store* store, const void* name, size_t name_bytes, int64_t lease_ms,
                                  int64_t patience_ms, oncelog_lock** lock, oncelog_error** error) {
  return call(error, [&] {
    need(store, "store");
    need(lock, "lock");
    *lock = new oncelog_lock{
        store->store.lock(text(name, name_bytes, "name"), milliseconds{lease_ms}, milliseconds{patience_ms})};
  });
}

int oncelog_lock_held(const oncelog_lock* lock) {
  return lock->lock ? 1 : 0;
}

uint64_t oncelog_lock_token(const oncelog_lock* lock) {
  return lock->lock.token();
}

int oncelog_lock_owner(const oncelog_lock* lock, oncelog_owner* owner) {
  return give_owner(lock->lock.owner(), owner);
}

oncelog_code oncelog_lock_renew(oncelog_lock* lock, int64_t lease_ms, uint8_t* held, oncelog_error** error) {
  return call(error, [&] {
    need(lock, "lock");
    give(held, lock->lock.renew(milliseconds{lease_ms}) ? 1 : 0);
  });
}

void oncelog_lock_release(oncelog_lock* lock) {
  lock->lock.release();
}

void oncelog_lock_free(oncelog_lock* lock) {
  delete lock;
}
