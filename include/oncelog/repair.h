#pragma once

/// @file
/// Saves what is whole in a damaged store, and rebuilds the hints in shared memory.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <oncelog/record.h>
#include <oncelog/verify.h>
#include <oncelog/version.h>

namespace oncelog {

/// How repair() and rebuild_hints() read the store.
struct RepairOptions {
  /// Where the shared memory is, as Options::live_dir; when empty, where it was noted last.
  std::filesystem::path live_dir = {};

  /// The new store's retention, where the damaged store's own is lost; ignored otherwise. As Options::retention.
  std::optional<std::chrono::milliseconds> retention = std::nullopt;
  /// The new store's buckets, where the damaged store's own are lost; ignored otherwise. As Options::buckets.
  std::optional<unsigned> buckets = std::nullopt;

  /// As Options::allow_foreign_owner.
  bool allow_foreign_owner = false;

  /// As Options::allow_network_filesystem. Only for rebuild_hints(): repair() reads from wherever the store lies.
  bool allow_network_filesystem = false;

  /// As Options::map_bytes. Only for rebuild_hints().
  std::optional<std::uint64_t> map_bytes = std::nullopt;
  /// As Options::max_readers. Only for rebuild_hints().
  std::optional<unsigned> max_readers = std::nullopt;

  /// How many problems to keep; more are counted, not kept.
  std::size_t max_problems = 1000;
};

/// What repair() has saved.
struct RepairReport {
  std::uint64_t records = 0;             ///< Records saved; their checksums hold.
  std::uint64_t from_shared_memory = 0;  ///< Of these, those that were never flushed or were lost from the log.
  std::uint64_t scopes = 0;              ///< Scopes saved.
  std::uint64_t entries = 0;             ///< Entries of user tables saved.
  Lsn end;                               ///< Where the new store's log ends.
  Time known_since;  ///< Of the new store; the moment of the repair when anything of the log was lost.

  std::vector<Problem> problems;    ///< What could not be saved, up to RepairOptions::max_problems.
  std::uint64_t problem_count = 0;  ///< How many problems there were, those not kept included.

  /// Whether everything was saved.
  bool complete() const { return problem_count == 0; }
};

/// Makes a new store in the new or empty directory `into` of all that is whole in the store in `directory`. The damaged
/// store must not be open in any process. It is only read, and not a byte of it is trusted. What is saved:
///
/// - every record whose checksum holds, under its LSN and time: from the newest commit, from the one before it where
///   that is damaged, and from pages that nothing leads to any more; and from the shared memory what was accepted since
///   the last boot and not flushed;
/// - scopes, with their numbers; one whose name is lost is called "lost-scope-N";
/// - entries of user tables. These have no checksum: changed bytes of a value are not noticed;
/// - the identity: retention, buckets, the key of the checksums, and the store's id. So the new store takes the damaged
///   one's place; do not use both;
/// - the epoch of fencing tokens, so that tokens keep growing. Claims and locks are not saved.
///
/// Where a part of the log is lost, ids that were processed there are fresh again. They are too_old instead where the
/// message says when it was sent and that was before the repair (known_since). verify() knows these gaps, and does not
/// report them.
///
/// Where the key of the checksums is lost from every page, nobody can tell whole records from damaged ones. No record
/// is saved then. User tables and scopes are, into a store with another key and with the retention and buckets of
/// RepairOptions.
///
/// Any thread. Reads the file once, and once more where something is missing. Holds 24 bytes of memory for each block
/// of the log. Errors: not_found, not_a_store, in_use, newer_format; invalid_argument when `into` is not empty; corrupt
/// when nothing can be saved; full, no_permission, io.
ONCELOG_API RepairReport repair(const std::filesystem::path& directory, const std::filesystem::path& into,
                                const RepairOptions& options = {}, const VerifyProgressHook& progress = {});

/// Rebuilds the filter and the index of the store from its log. No process may have the store open. Any thread; takes
/// as long as opening the store after a reboot. Errors: in_use, and those of Store::open.
ONCELOG_API void rebuild_hints(const std::filesystem::path& directory, const RepairOptions& options = {});

}  // namespace oncelog
