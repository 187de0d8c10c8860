#pragma once

#include <functional>
#include <span>

#include "lmdb/catalog.h"
#include "log/log.h"
#include "log/ring.h"
#include "shared/shared_state.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Brings the tables beside the log up to date with what the store has forgotten: deletes the rows of buckets that
/// `layout` no longer has, and stores since when everything is known. Every commit that writes or deletes records needs
/// it, and write_log does it: otherwise a dropped bucket's row would claim the records after it, and a known_since that
/// is not on disk is lost with the shared memory. `layout` was read before the call. Returns whether anything changed.
bool keep_forgotten(lmdb::WriteTxn& txn, const Catalog& catalog, const SharedHeader& live, const Layout& layout);

/// Copies the ring's records of [from, to) into blocks of the log and brings the rows of their buckets up to date, in
/// the caller's transaction; calls keep_forgotten. `from` and `to` are record boundaries between flushed and head;
/// `layout` was read after head was. Throws Error::corrupt when the ring holds no records there, or records of a
/// transaction that is not settled and no `settle` is given.
///
/// `settle` is for a caller that knows how a transaction ended: it turns the transaction's records in each block into
/// messages or void records.
void write_log(lmdb::WriteTxn& txn, const Log& log, const Catalog& catalog, const SharedHeader& live, const Ring& ring,
               const Layout& layout, Lsn from, Lsn to,
               const std::function<void(std::span<std::byte> block, Lsn lsn)>& settle = {});

/// The same without keep_forgotten, for shared memory whose word on what it has forgotten is not believed.
void write_records(lmdb::WriteTxn& txn, const Log& log, const Catalog& catalog, const Ring& ring, const Layout& layout,
                   Lsn from, Lsn to, const std::function<void(std::span<std::byte> block, Lsn lsn)>& settle);

/// Writes something that is there as it is: LMDB makes no commit of a transaction that has written nothing.
void write_something(lmdb::WriteTxn& txn, const Catalog& catalog);

}  // namespace oncelog::internal
