#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "background/bucket_rows.h"
#include "background/former.h"
#include "background/sealed_hints.h"
#include "base/clock.h"
#include "base/host.h"
#include "lmdb/catalog.h"
#include "log/log.h"
#include "shared/settings.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "window/buckets.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Makes a store's shared memory, its index tables and its filter from the log. For the only process that has the store
/// open.
struct Rebuild {
  const lmdb::Env& env;
  const Log& log;
  const Catalog& catalog;
  const StoreIdentity& identity;
  Uuid store_file_id;
  const Host& host;
  const Settings& settings;

  struct Built {
    SharedState live;
    std::string damage;  // A sentence on what was damaged of what is on disk beside the log; empty when nothing was.
  };

  /// Returns the shared memory in a new file at `path`, ready to use. Its index and filter files are in `live_dir`,
  /// which had none before, and where the buckets' hints are sealed (see SealedHints) in the store's directory. `known`
  /// is its earlier life in this boot, whose ring has been saved; null when there is none. What only that one knows is
  /// taken over: the clock and, unless it is damaged, the tokens and the claims that outlive their owners.
  Built run(const std::filesystem::path& live_dir, const std::filesystem::path& path, const Former* known) const;

 private:
  /// What LMDB says about the store.
  struct Logged {
    Lsn begin;
    Lsn end;
    BucketRows rows;  // The rows of live buckets.
    std::uint64_t next_bucket = 1;
    std::int64_t known_since_us = 0;
  };

  std::int64_t fresh_clock_offset_us(const Former* known) const;
  Logged read_tables(const BucketRules& rules, std::int64_t now_us) const;
  SealedHints sealed_hints(const std::filesystem::path& live_dir) const;
  static Layout plan(const Logged& logged, const BucketRules& rules, std::int64_t stamp_us);
  static void make_files(Layout& layout, const SealedHints& sealed, const BucketRules& rules, const ViewCache& files);
  void forget(const SealedHints& sealed) const;
};

}  // namespace oncelog::internal
