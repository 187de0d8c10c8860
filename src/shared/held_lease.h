#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/record.h>

#include "base/message_hash.h"

namespace oncelog::internal {

/// What a claim's holder keeps of it: enough to find it in the lease table, and to mark its id.
struct HeldLease {
  std::uint64_t token = 0;  // 0: not held.
  std::uint32_t scope = 0;
  MessageHash hash;
  std::string_view id;
  Lsn completed = {};  // Its record's; 0 before.
};

/// A claim's or lock's own, with the texts that its record may want.
struct HeldClaim {
  HeldLease lease;
  std::string id;
  std::string correlation;
  std::uint64_t fingerprint = 0;
  Source source;

  /// `given`, with what it does not say taken from what was given when the claim was taken.
  Attributes merged(const Attributes& given) const {
    Attributes all = given;
    if (all.correlation.empty()) all.correlation = correlation;
    if (all.fingerprint == 0) all.fingerprint = fingerprint;
    if (all.source.name.empty()) all.source = {source.name, source.partition, source.offset};
    return all;
  }
};

/// A batch's.
struct HeldBatch {
  std::unique_ptr<char[]> ids;  // What the leases' ids are views into.
  std::vector<HeldLease> leases;
};

}  // namespace oncelog::internal
