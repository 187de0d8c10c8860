#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "background/recovery.h"
#include "base/clock.h"
#include "base/message_hash.h"
#include "engine/reader.h"
#include "lmdb/catalog.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "shared/shared_state.h"
#include "shared/view.h"
#include "support.h"
#include "window/buckets.h"

namespace oncelog::testing {

/// An LMDB environment with oncelog's tables in it, in a directory of its own.
struct Tables {
  explicit Tables(std::uint64_t map_bytes = std::uint64_t{64} << 20, unsigned max_readers = 16);

  TempDir dir;
  internal::lmdb::Env env;
  std::optional<internal::Log> log;
  std::optional<internal::Catalog> catalog;
};

/// The parts of a store without the engine that joins them: no flusher, no locks, one thread. `append` does what the
/// engine does to accept a record, so that a part can be tested with records in it.
struct Parts {
  static constexpr std::uint32_t kScope = 1;

  explicit Parts(const Options& with = {.ring_bytes = std::uint64_t{64} << 10}, unsigned buckets = 8,
                 std::chrono::microseconds retention = std::chrono::seconds{80},
                 std::uint64_t map_bytes = std::uint64_t{64} << 20);

  internal::Recovery recovery() const;
  /// (Re)opens the shared memory, as the only process or as one of many.
  void open(bool alone = true, const std::filesystem::path& former_dir = {});
  void close();

  internal::SharedHeader& header() const { return live->header(); }
  Lsn head() const { return {header().marks.head.load(std::memory_order_acquire)}; }
  Lsn flushed() const { return {header().marks.flushed.load(std::memory_order_acquire)}; }
  internal::Layout layout() const;

  internal::Probe probe(std::string_view id) const;
  /// Opens the bucket of the present time.
  void open_bucket();
  /// Accepts a record in the current bucket, opening the first where there is none. The index table must have room. Its
  /// correlation, if it has one, is indexed only with `previous`, the record before it in its chain or 0.
  Lsn append(std::string_view id, std::uint32_t flags = 0, const Attributes* attributes = nullptr,
             std::optional<Lsn> previous = std::nullopt);
  /// Copies everything accepted into the log.
  void flush();

  Tables tables;
  FakeHost host;
  Options options;
  internal::StoreIdentity identity;
  internal::Uuid store_file_id = internal::random_uuid();
  std::filesystem::path live_dir;
  internal::BucketRules rules{};
  std::optional<internal::SharedState> live;
  std::string damage;  // As the last open() reported it.
  std::optional<internal::ViewCache> views;
  std::optional<internal::Clock> clock;
};

/// The names in a directory that begin with `prefix`.
std::vector<std::string> files_in(const std::filesystem::path& directory, std::string_view prefix);

}  // namespace oncelog::testing
