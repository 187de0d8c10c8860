#pragma once

#include "id_batches.h"

namespace oncelog::tool {

/// Makes processed ids fresh again, on disk before that is reported, and prints "forgotten ID" or "unknown ID" for
/// each; see act_on_ids.
int run_forget(const IdsOptions& options);

}  // namespace oncelog::tool
