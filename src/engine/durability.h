#pragma once

#include <string>

#include <oncelog/error.h>

#include "engine/opened_store.h"

namespace oncelog::internal {

/// Waits until the record at `lsn` is on disk. Throws what made the commit fail, and Error::invalid_argument for an LSN
/// at which there is no record yet, or within a transaction of this thread.
void wait_for_disk(OpenedStore& store, Lsn lsn);

/// The same for a record that stands whatever comes; the Error says so.
void wait_for_standing(OpenedStore& store, Lsn lsn);

/// The Error of a wait for the disk, with what became of the ids that were waited for.
Error with_outcome(const Error& error, const std::string& outcome);

/// Throws Error::invalid_argument when what is about to be accepted could not be waited for.
inline void check_may_wait(const OpenedStore& store, Ack ack) {
  if (ack == Ack::disk) store.check_not_in_transaction("waiting for the disk");
}

}  // namespace oncelog::internal
