#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "peer.h"
#include "plan.h"
#include "workload.h"

namespace oncelog::bench {

/// What one of two workers marks at the same time as the other: ids of its own, and each tenth the same as the other's,
/// as when a broker delivers a message to two consumers.
class WorkShare {
 public:
  WorkShare(Numbers numbers, unsigned who, std::size_t count);

  struct Done {
    std::size_t operations = 0;
    std::size_t fresh = 0;
    double seconds = 0;
  };
  /// Marks them one by one until all are done or the time is up.
  Done run(Session& session, std::chrono::nanoseconds limit) const;

  /// How many of what two workers have done must have been fresh.
  static std::size_t expected_fresh(const Done& one, const Done& other);

 private:
  static constexpr std::size_t kSharedEach = 10;

  Ids own_;
  Ids shared_;
};

/// The process of a worker; see Child. It attaches to the store in `directory`, says so, and does what it is told:
///   share WHO COUNT LIMIT_MS   waits for a line, marks, and answers with operations, fresh ones and seconds
///   crash COUNT LIMIT_MS       marks, answers with how many, and kills itself
int run_worker(Peer& peer, const std::string& directory, std::size_t ids);

}  // namespace oncelog::bench
