#pragma once

#include <filesystem>
#include <utility>

#include <oncelog/options.h>

#include "buckets.h"
#include "catalog.h"
#include "host.h"
#include "live.h"
#include "log.h"
#include "message_hash.h"
#include "record_codec.h"
#include "view.h"

namespace oncelog::internal {

/// Gets the shared memory of a store ready when a process opens it. What is there is used when it belongs to this boot
/// and store and is whole; otherwise what was accepted but not flushed is saved into the log, and everything derived is
/// made anew from the log. The caller holds the store's open lock.
struct Recovery {
  const lmdb::Env& env;
  const Log& log;
  const Catalog& catalog;
  const StoreIdentity& identity;
  Uuid home;
  const Host& host;
  const Options& options;

  /// `alone`: no other process has the store open. `former_dir` is where this store's live files were last: perhaps
  /// live_dir too, perhaps empty. Throws Error::in_use when the files are unusable and others use them.
  Live open(const std::filesystem::path& live_dir, const std::filesystem::path& former_dir, bool alone) const;

  /// Reads the whole log, and throws Error::corrupt unless every record in it is intact; some 3 million records a
  /// second.
  void verify_log() const;

 private:
  std::pair<RecordView, MessageHash> intact_record(lmdb::Bytes bytes, Lsn lsn) const;
  bool usable(const Live& live, const std::filesystem::path& live_dir) const;
  Lsn whole_until(const Ring& ring, Lsn from, Lsn head) const;
  void save_ring(const Live& live) const;
  Live rebuild(const std::filesystem::path& live_dir, const Live* former) const;
  void fill(const Live& live, ViewCache& files, Layout& layout) const;
};

}  // namespace oncelog::internal
