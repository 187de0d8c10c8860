#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <oncelog/record.h>
#include <oncelog/verify.h>
#include <oncelog/version.h>

namespace oncelog {

/// Saves what is whole in a damaged store, and makes the shared memory's hints again.

struct RepairOptions {
  /// Where the shared memory is when not in the store, as Options::live_dir. Without it, where it was noted last.
  std::filesystem::path live_dir = {};

  /// Of the new store, where the damaged one's own are lost; otherwise they are not looked at. As in Options.
  std::optional<std::chrono::milliseconds> retention = std::nullopt;
  std::optional<unsigned> buckets = std::nullopt;

  /// As Options::allow_foreign_owner.
  bool allow_foreign_owner = false;

  /// As Options::allow_network_filesystem; only for rebuild_hints(). repair() reads from wherever the store lies.
  bool allow_network_filesystem = false;

  /// As Options::map_bytes and max_readers; only for rebuild_hints().
  std::optional<std::uint64_t> map_bytes = std::nullopt;
  std::optional<unsigned> max_readers = std::nullopt;

  /// Problems to keep; more are counted, not kept.
  std::size_t max_problems = 1000;
};

struct RepairReport {
  std::uint64_t records = 0;             ///< Saved; their checksums hold.
  std::uint64_t from_shared_memory = 0;  ///< Of these, those that had not been flushed, or were lost from the log.
  std::uint64_t scopes = 0;
  std::uint64_t entries = 0;  ///< Of user tables.
  Lsn end;                    ///< Where the new store's log ends.
  Time known_since;           ///< Of the new store; the moment of the repair when anything of the log was lost.

  /// What could not be saved.
  std::vector<Problem> problems;
  std::uint64_t problem_count = 0;

  bool complete() const { return problem_count == 0; }
};

/// Makes a new store in the new or empty directory `into` of all that is whole in the store in `directory`, which is
/// only read, by a reader that does not trust a byte of it, and must not be open in any process. Saves
///
///  - every record whose checksum holds, under its LSN and time, from the newest commit, from the one before it where
///    that is damaged, and from pages that nothing leads to any more; and what was accepted in this boot and not
///    flushed, from the shared memory;
///  - scopes, with their numbers: one whose name is lost gets the name "lost-scope-N";
///  - entries of user tables. These bear no checksum: bytes of a value that have changed are not noticed;
///  - the identity: retention, buckets, the key of the checksums, and the store's id. So the new store takes the
///    damaged one's place; do not use both;
///  - the epoch of fencing tokens, so that tokens keep growing. Claims and locks are not saved.
///
/// Where a part of the log is lost, ids that were processed there are fresh again, unless the message says when it was
/// sent and that lies before the repair (known_since): then it is too_old. verify() knows the gaps, and does not report
/// them.
///
/// Where the key of the checksums is lost from every page, nobody can tell whole records from damaged ones: no record
/// is saved then, but user tables and scopes are, into a store with another key and RepairOptions' retention and
/// buckets.
///
/// Reads the file once and, where something is missing, once more; holds 24 bytes for each block of the log. Errors:
/// not_found, not_a_store, in_use, newer_format; invalid_argument when there is anything in `into`; corrupt when there
/// is nothing to be saved; full, no_permission, io.
ONCELOG_API RepairReport repair(const std::filesystem::path& directory, const std::filesystem::path& into,
                                const RepairOptions& options = {}, const VerifyProgressHook& progress = {});

/// Has filter and index of the store made again from the log. No process may have the store open. Takes as long as
/// opening it after a reboot. Errors: in_use, and those of Store::open.
ONCELOG_API void rebuild_hints(const std::filesystem::path& directory, const RepairOptions& options = {});

}  // namespace oncelog
