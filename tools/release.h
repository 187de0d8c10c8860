#pragma once

#include "id_batches.h"

namespace oncelog::tool {

/// Frees claimed ids, whoever holds them, and prints "released ID" or "unclaimed ID" for each; see act_on_ids.
int run_release(const IdsOptions& options);

}  // namespace oncelog::tool
