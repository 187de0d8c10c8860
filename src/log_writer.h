#pragma once

#include <functional>
#include <span>

#include "catalog.h"
#include "layout.h"
#include "log.h"
#include "ring.h"

namespace oncelog::internal {

/// Copies the ring's records of [from, to) into blocks of the log and brings the rows of their buckets up to date, in
/// the caller's transaction. `from` and `to` are record boundaries between flushed and head; `layout` was read after
/// head was. Throws Error::corrupt when the ring holds no records there, or ones of a transaction that has not
/// committed.
///
/// A transaction's own commit gives `make_messages`, which makes messages of its records in each block.
void write_log(lmdb::WriteTxn& txn, const Log& log, const Catalog& catalog, const Ring& ring, const Layout& layout,
               Lsn from, Lsn to, const std::function<void(std::span<std::byte> block, Lsn lsn)>& make_messages = {});

}  // namespace oncelog::internal
