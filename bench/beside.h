#pragma once

#include <string>

#include "settings.h"

namespace oncelog::bench {

/// Work whose figure is a ratio: done by turns with what it is held against, in one run, so that both see the same
/// machine.

/// Claims that are begun and completed, against marks: counters claim_ns, mark_ns and per_mark, how many marks a claim
/// takes.
std::string claim_name(const Settings& settings, bool batches);

/// Work that is run once, kept alive and has nothing to do, against claims that are begun and completed: counters
/// once_ns, claim_ns and per_claim, how many claims it takes.
std::string once_name(const Settings& settings);

/// Transactions of one mark and one entry, against LMDB alone that puts the entry and 64 bytes in the mark's stead,
/// both fsynced: counters transact_us, lmdb_us (medians) and of_lmdb, the share of LMDB's rate that is reached.
std::string transact_name();

void register_beside(const Settings& settings);

}  // namespace oncelog::bench
