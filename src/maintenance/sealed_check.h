#pragma once

#include "lmdb/catalog.h"
#include "lmdb/pages.h"
#include "maintenance/problems.h"

namespace oncelog::internal {

/// Compares the files of sealed buckets with their notes; reads all of them. One that is missing, because somebody has
/// removed it or another process is replacing it, is no problem: the bucket's hints are made from the log then.
void check_sealed(const lmdb::Pages& pages, const lmdb::Meta& meta, const StoreIdentity& identity, Problems& problems);

}  // namespace oncelog::internal
