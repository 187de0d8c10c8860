#pragma once

#include <filesystem>

#include "background/former.h"
#include "base/host.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/settings.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Makes a store's shared memory and everything derived from the log. For the only process that has the store open.
struct Rebuild {
  const lmdb::Env& env;
  const Log& log;
  const Catalog& catalog;
  const StoreIdentity& identity;
  Uuid store_file_id;
  const Host& host;
  const Settings& settings;

  /// The shared memory in a new file at `path`, ready, and its hints in `live_dir`, which has none. `known`: an earlier
  /// life of the shared memory in this boot, whose ring is saved. What it alone knows goes on: the clock, and unless it
  /// is damaged the claims that outlive their owners, and the tokens.
  SharedState run(const std::filesystem::path& live_dir, const std::filesystem::path& path, const Former* known) const;
};

}  // namespace oncelog::internal
