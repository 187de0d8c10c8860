#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "background/former.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Saves into the log what was accepted into a ring and not flushed, before the ring's shared memory is replaced. For
/// the only process that has the store open.
struct RingRescue {
  const lmdb::Env& env;
  const Log& log;
  const Catalog& catalog;
  const StoreIdentity& identity;

  /// What became of a ring.
  struct Saved {
    std::uint64_t records = 0;
    std::uint64_t places = 0;  // Runs of damaged records that whole ones follow.
    Lsn first_place;
    Lsn lost_from;  // Records from here on are lost; 0 when none are known to be.
  };

  /// Writes the records into the log that only the ring has. Unless the head can be believed, the records alone say
  /// where they end. Damaged ones that whole ones follow become void.
  Saved save(const Former& former) const;

  /// A sentence on what was damaged, saved and lost; empty when nothing was damaged. `live` is the former's path.
  static std::string damage_of(const std::filesystem::path& live, const Former& former, const Saved& saved);

 private:
  Layout layout_of_rows(const lmdb::Txn& txn, Lsn from, const RecordHeader& first) const;
};

}  // namespace oncelog::internal
