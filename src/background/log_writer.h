#pragma once

#include <functional>
#include <span>

#include "lmdb/catalog.h"
#include "log/log.h"
#include "log/ring.h"
#include "shared/shared_state.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Puts into the tables beside the log what the store has forgotten: deletes the rows of buckets that `layout` no
/// longer has, and notes since when everything is known. Belongs into every commit that writes records or deletes some,
/// and write_log does it: the row of a dropped bucket would take the records after it for its own, and a known_since
/// that is not on disk is lost with the shared memory. `layout` was read before the call. Returns whether anything
/// changed.
bool keep_forgotten(lmdb::WriteTxn& txn, const Catalog& catalog, const SharedHeader& live, const Layout& layout);

/// Copies the ring's records of [from, to) into blocks of the log and brings the rows of their buckets up to date, in
/// the caller's transaction; does keep_forgotten. `from` and `to` are record boundaries between flushed and head;
/// `layout` was read after head was. Throws Error::corrupt when the ring holds no records there, or ones of a
/// transaction that has not committed.
///
/// Who knows what has become of a transaction gives `settle`, which makes messages or void records of its records in
/// each block.
void write_log(lmdb::WriteTxn& txn, const Log& log, const Catalog& catalog, const SharedHeader& live, const Ring& ring,
               const Layout& layout, Lsn from, Lsn to,
               const std::function<void(std::span<std::byte> block, Lsn lsn)>& settle = {});

/// The same without keep_forgotten, for shared memory that is not to be believed in what it has forgotten.
void write_records(lmdb::WriteTxn& txn, const Log& log, const Catalog& catalog, const Ring& ring, const Layout& layout,
                   Lsn from, Lsn to, const std::function<void(std::span<std::byte> block, Lsn lsn)>& settle);

/// LMDB commits nothing when nothing is written: writes what is there as it is.
void write_something(lmdb::WriteTxn& txn, const Catalog& catalog);

}  // namespace oncelog::internal
