#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/record.h>

#include "base/message_hash.h"

namespace oncelog::internal {

/// What the holder of a claim keeps: enough to find it in the lease table and to mark its id.
struct HeldLease {
  std::uint64_t token = 0;  // 0: not held.
  std::uint32_t scope = 0;
  MessageHash hash;
  std::string_view id;
  Lsn completed = {};  // Its record's LSN; 0 before there is one.
};

/// What a Claim or Lock keeps, with the texts that its record may need.
struct HeldClaim {
  HeldLease lease;
  std::string id;
  std::string correlation;
  std::uint64_t fingerprint = 0;
  Source source;
  std::chrono::milliseconds length{0};  // Of the lease, as it was taken.
  std::shared_ptr<void> kept;           // Renews it, while there is one; refers to `id`.

  /// `given`, with what it leaves unset taken from what was given when the claim was taken.
  Attributes merged(const Attributes& given) const {
    Attributes all = given;
    if (all.correlation.empty()) all.correlation = correlation;
    if (all.fingerprint == 0) all.fingerprint = fingerprint;
    if (all.source.name.empty()) all.source = {source.name, source.partition, source.offset};
    return all;
  }
};

/// What a ClaimBatch keeps.
struct HeldBatch {
  std::unique_ptr<char[]> ids;  // The leases' ids are views into it.
  std::vector<HeldLease> leases;
};

}  // namespace oncelog::internal
