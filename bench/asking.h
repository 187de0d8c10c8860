#pragma once

#include <cstddef>

#include <oncelog/scope.h>

#include "workload.h"

namespace oncelog::bench {

inline constexpr std::size_t kBatch = 64;

/// How ids are asked for: by contains or by mark, one by one or in batches of kBatch.
struct Asking {
  bool mark;
  bool batches;
};

/// Asks for all of [begin, end); returns how many were known.
std::size_t ask(const Scope& scope, const Asking& how, const Ids& ids, std::size_t begin, std::size_t end);

}  // namespace oncelog::bench
