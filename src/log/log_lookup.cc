#include "log/log_lookup.h"

#include <new>

#include <oncelog/error.h>

namespace oncelog::internal {

/// After a commit, a new map, or a look at what the table lacks.
void LogLookup::catch_up(lmdb::ReadTxn::Active& active) {
  ++turn_;
  behind_ = false;
  begin_ = end_ = Lsn{};
  if (blocks_ && blocks_->mapping() != txn_.env().mapping()) blocks_.reset();
  try {
    commit_ = mdb_txn_id(txn_.get());
    const auto first = lmdb::seek(txn_.env(), txn_.cursor(), MDB_FIRST);
    if (!first) return;
    const bool complete = directory_.extend(txn_, Lsn{first->key}, blocks_);
    if (!blocks_) return;
    begin_ = Lsn{first->key};
    end_ = complete ? kEndless : blocks_->last();
  } catch (const Error&) {
    // Some page of the tree is damaged: whoever looks for a record there gets the error. LMDB does nothing more in a
    // transaction that has met one.
    active.again();
    commit_ = mdb_txn_id(txn_.get());
  } catch (const std::bad_alloc&) {
    // The tree answers, as it does for what no table has.
  }
}

std::optional<lmdb::Bytes> LogLookup::find_in_tree(Lsn lsn) {
  behind_ |= lsn >= end_ && !directory_.leaves_it_to_the_tree();
  return Log::find(txn_, lsn);
}

}  // namespace oncelog::internal
