#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <oncelog/c.h>
#include <oncelog/oncelog.h>
#include <oncelog/testing.h>

#include "bindings/c/call.h"
#include "bindings/c/records.h"
#include "bindings/c/structs.h"

// What the opaque types of the C interface are.

struct oncelog_store {
  oncelog::Store store;
  oncelog::Ack ack;  // What ONCELOG_ACK_DEFAULT is.
};

struct oncelog_scope {
  oncelog::Scope scope;
  oncelog::Ack ack;  // The store's.
};

struct oncelog_claim {
  oncelog_claim(oncelog::Claim taken, oncelog::Ack by_default) : claim(std::move(taken)), ack(by_default) {
    if (claim.record()) record = oncelog::internal::c::view(*claim.record());
  }
  oncelog_claim(const oncelog_claim&) = delete;
  oncelog_claim& operator=(const oncelog_claim&) = delete;

  oncelog::Claim claim;
  oncelog::Ack ack;            // The scope's.
  oncelog_record record = {};  // Its texts are the claim's.
};

struct oncelog_claim_batch {
  oncelog::ClaimBatch batch;
};

struct oncelog_lock {
  oncelog::Lock lock;
};

struct oncelog_clock {
  std::shared_ptr<oncelog::testing::FakeClock> clock;
};

namespace oncelog::internal::c {

/// Errors: invalid_argument for a number that is no acknowledgement.
Ack ack_of(oncelog_ack given, Ack by_default);

/// `given` may be null. The texts are the caller's.
Attributes attributes_of(const oncelog_attributes* given);

/// Has the visitor called for each problem until it wants no more. `visitor` may be null.
void visit_problems(const std::vector<Problem>& problems, oncelog_problem_visitor visitor, void* user);

/// Marked as C has it.
oncelog_marked marked_of(const Marked& marked);

/// Fills in the owner and returns 1, where there is one.
int give_owner(const std::optional<ClaimOwner>& found, oncelog_owner* owner) noexcept;

}  // namespace oncelog::internal::c
