#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "background/former.h"
#include "background/rebuild.h"
#include "base/host.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/settings.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Gets the shared memory of a store ready when a process opens it. Shared memory that is there is used if it belongs
/// to this boot and store and is whole. Otherwise what was accepted but not flushed is saved into the log, and
/// everything derived is rebuilt from the log. If the header is damaged, only the records in the ring are saved, by
/// their own checksums: claims are released, and fencing tokens continue with another epoch. The caller holds the
/// store's open lock.
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
    std::string damage;  // A sentence on what was damaged, saved and lost; empty when nothing was damaged.
  };

  /// `alone`: no other process has the store open. `former_dir` is where this store's shared memory was last: live_dir
  /// itself, another directory, or empty if that is not known. Both are trusted, and live_dir is there. Throws
  /// Error::in_use when the files are unusable and others use them.
  Opened open(const std::filesystem::path& live_dir, const std::filesystem::path& former_dir, bool alone) const;

  /// Whether there is shared memory of this boot and store in the directory, whole or damaged.
  bool is_in(const std::filesystem::path& live_dir) const { return find(live_dir).has_value(); }

  /// Reads the whole log, some 10 million records a second from memory; throws Error::corrupt unless every record in it
  /// is intact.
  void verify_log() const;

 private:
  Rebuild::Built rebuild(const std::filesystem::path& live_dir, const Former* former) const;
  std::optional<Former> find(const std::filesystem::path& live_dir) const;
  void mend(const SharedState& live) const;
  bool usable(const SharedState& live, const std::filesystem::path& live_dir) const;
};

}  // namespace oncelog::internal
