#pragma once

#include <oncelog/metrics.h>

#include "base/exported.h"
#include "engine/opened_store.h"

namespace oncelog::internal {

/// What Store::metrics returns. Takes no lock of the store's; some microseconds.
Metrics collect_metrics(OpenedStore& store);

/// What was counted of a scope's ids.
ONCELOG_INTERNAL IdCounts counts_of(const ThreadTally& tally, std::uint32_t scope);

}  // namespace oncelog::internal
