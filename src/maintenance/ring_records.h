#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include <oncelog/record.h>

#include "log/ring.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// The records of the ring that the log does not have: accepted in this boot and not flushed, or lost from the log's
/// end. The ring is only read: a dead transaction's records are settled in the copy.
class RingRecords {
 public:
  RingRecords(const SharedState& live, std::uint64_t hash_seed)
      : header_(live.header()), ring_(live.ring()), seed_(hash_seed) {}

  /// Calls visit(lsn, bytes) for each whole record at or above `from`, ascending. Returns the head, below which every
  /// record was accepted.
  Lsn each(Lsn from, const std::function<void(Lsn, std::span<const std::byte>)>& visit) const;

 private:
  std::size_t copy(std::uint64_t at, std::uint64_t head, std::vector<std::uint64_t>& words) const;

  const SharedHeader& header_;
  const Ring ring_;
  const std::uint64_t seed_;
};

}  // namespace oncelog::internal
