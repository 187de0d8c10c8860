#pragma once

#include <utility>

#include "base/message_hash.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/layout.h"

namespace oncelog::internal {

/// The record at the beginning of `bytes`, compared with its checksum.
std::pair<RecordView, MessageHash> intact_record_of_log(const lmdb::Env& env, lmdb::Bytes bytes, Lsn lsn,
                                                        std::uint64_t hash_seed);

/// Reads the log into the index and the filter; nobody else sees them yet. What the rows said too little of gets more
/// tables and generations.
void fill_hints(const lmdb::Env& env, const Log& log, const StoreIdentity& identity, const SharedState& live,
                ViewCache& files, Layout& layout);

}  // namespace oncelog::internal
