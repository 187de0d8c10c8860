#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "background/former.h"
#include "base/host.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/settings.h"
#include "shared/shared_state.h"

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
  std::optional<Former> find(const std::filesystem::path& live_dir) const;
  void mend(const SharedState& live) const;
  bool usable(const SharedState& live, const std::filesystem::path& live_dir) const;
};

}  // namespace oncelog::internal
