#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "background/former.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Saves what was accepted into a ring and is not in the log, when its shared memory is to be replaced. For the only
/// process that has the store open.
struct RingRescue {
  const lmdb::Env& env;
  const Log& log;
  const Catalog& catalog;
  const StoreIdentity& identity;

  /// What became of a ring.
  struct Saved {
    std::uint64_t records = 0;
    std::uint64_t places = 0;  // At which there were damaged records with whole ones after them.
    Lsn first_place;
    Lsn lost_from;  // Records from here on are lost; 0 when none is known to be.
  };

  /// Writes into the log what the ring has and the log has not. The records alone say where they end, unless the head
  /// can be believed; damaged ones become void where whole ones follow.
  Saved save(const Former& former) const;

  /// What was damaged, what is saved and what is lost, for people; empty when nothing was. `live` is the former's path.
  static std::string damage_of(const std::filesystem::path& live, const Former& former, const Saved& saved);

 private:
  Layout layout_of_rows(const lmdb::Txn& txn, Lsn from, const RecordHeader& first) const;
};

}  // namespace oncelog::internal
