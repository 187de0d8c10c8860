#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "base/host.h"
#include "base/message_hash.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "shared/settings.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/buckets.h"

namespace oncelog::internal {

/// Gets the shared memory of a store ready when a process opens it. What is there is used when it belongs to this boot
/// and store and is whole; otherwise what was accepted but not flushed is saved into the log, and everything derived is
/// made anew from the log. Where the header is damaged, the records in the ring are saved by their own checksums, and
/// nothing else is: claims are gone, and fencing tokens go on with another epoch. The caller holds the store's open
/// lock.
struct Recovery {
  const lmdb::Env& env;
  const Log& log;
  const Catalog& catalog;
  const StoreIdentity& identity;
  Uuid store_file_id;
  const Host& host;
  Settings settings;

  struct Opened {
    SharedState live;
    std::string damage;  // What was damaged, what is saved and what is lost, for people; empty when nothing was.
  };

  /// `alone`: no other process has the store open. `former_dir` is where this store's live files were last: perhaps
  /// live_dir too, perhaps empty. Throws Error::in_use when the files are unusable and others use them.
  Opened open(const std::filesystem::path& live_dir, const std::filesystem::path& former_dir, bool alone) const;

  /// Reads the whole log, and throws Error::corrupt unless every record in it is intact; some 3 million records a
  /// second.
  void verify_log() const;

 private:
  /// Shared memory of an earlier life.
  struct Former {
    SharedState live;
    bool damaged;  // Nothing in its header is believed.
  };
  /// What became of a ring.
  struct Saved {
    std::uint64_t records = 0;
    std::uint64_t places = 0;  // At which there were damaged records with whole ones after them.
    Lsn first_place;
    Lsn lost_from;  // Records from here on are lost; 0 when none is known to be.
  };

  std::pair<RecordView, MessageHash> intact_record(lmdb::Bytes bytes, Lsn lsn) const;
  std::optional<Former> find(const std::filesystem::path& live_dir) const;
  void mend(const SharedState& live) const;
  bool usable(const SharedState& live, const std::filesystem::path& live_dir) const;
  Saved save_ring(const Former& former) const;
  Layout layout_of_rows(const lmdb::Txn& txn, Lsn from, const RecordHeader& first) const;
  std::string damage_of(const std::filesystem::path& live, const Former& former, const Saved& saved) const;
  SharedState rebuild(const std::filesystem::path& live_dir, const Former* former) const;
  void fill(const SharedState& live, ViewCache& files, Layout& layout) const;
};

}  // namespace oncelog::internal
