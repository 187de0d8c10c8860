#pragma once

#include <functional>

#include <oncelog/verify.h>

#include "engine/opened_store.h"

namespace oncelog::internal {

/// Verifies a store that this process has open. `structure_known`: the pages of data.mdb were found sound just now.
VerifyReport verify_store(OpenedStore& store, const VerifyOptions& options, const VerifyProgressHook& progress,
                          bool structure_known);

}  // namespace oncelog::internal
