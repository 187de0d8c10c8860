#pragma once

/// @file
/// Finds out whether what a store has on disk and in shared memory is sound. Reads only, also while other processes use
/// the store. Its memory does not grow with the records: at most 2 bits for each page of data.mdb (16 MB for 256 GB),
/// some pages, the largest record, and 1000 problems, beside the shared memory that every open store maps.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

/// What a problem is about.
enum class ProblemKind : std::uint8_t {
  page,      ///< LMDB's structure: a page, an entry, a table's description.
  meta,      ///< One of LMDB's two meta pages.
  space,     ///< Pages that no table uses and no later commit can use.
  identity,  ///< What says that this is an oncelog store, its options, and the key of its checksums.
  number,    ///< The epoch of fencing tokens, or known_since.
  scope,     ///< A scope's name or number.
  bucket,    ///< A time bucket's row.
  block,     ///< A block of the log, or a gap between two.
  record,    ///< A record.
  hint,      ///< A live record that the filter or the index does not lead to.
  opening,   ///< The store cannot be opened.
};

/// The kind's name, such as "record".
ONCELOG_API std::string_view to_string(ProblemKind kind);

/// One thing that is wrong, for a person to read.
struct Problem {
  ProblemKind kind = ProblemKind::page;  ///< What it is about.
  std::string where;                     ///< For example "page 17 of data.mdb", or "LSN 4096".
  std::string sentence;                  ///< What is wrong there.
  std::string meaning;                   ///< What that does to answers.
  std::string remedy;                    ///< What to do.
};

/// How verify() reads the store.
struct VerifyOptions {
  /// Also looks every live record up in the filter and the index of the shared memory: some 2 million a second, where
  /// the rest reads 10 million a second from memory. A store that nobody has open is opened for that, and its shared
  /// memory made, as by any other reader.
  bool deep = false;

  /// Where the shared memory is, as Options::live_dir; when empty, where it was noted last. Only for verify() of a
  /// store that this process does not have open.
  std::filesystem::path live_dir = {};

  /// As Options::allow_foreign_owner.
  bool allow_foreign_owner = false;
  /// As Options::allow_network_filesystem.
  bool allow_network_filesystem = false;

  /// As Options::map_bytes, where LMDB has to open the store.
  std::optional<std::uint64_t> map_bytes = std::nullopt;
  /// As Options::max_readers, where LMDB has to open the store.
  std::optional<unsigned> max_readers = std::nullopt;

  /// How many problems to keep; more are counted, not kept.
  std::size_t max_problems = 1000;
};

/// How far verify() or repair() has come.
struct VerifyProgress {
  std::string_view stage;   ///< "pages" or "records".
  std::uint64_t done = 0;   ///< Pages, or bytes of the log.
  std::uint64_t total = 0;  ///< Of all, as far as is known.
};
/// Called now and then, on the thread that verifies.
using VerifyProgressHook = std::function<void(const VerifyProgress&)>;

/// What verify() has found.
struct VerifyReport {
  std::vector<Problem> problems;    ///< Up to VerifyOptions::max_problems.
  std::uint64_t problem_count = 0;  ///< How many problems there are, those not kept included.

  std::uint64_t pages = 0;       ///< Of data.mdb, up to the last used one.
  std::uint64_t free_pages = 0;  ///< Of these, those that later commits can use.
  std::uint64_t blocks = 0;      ///< Of the log.
  std::uint64_t records = 0;     ///< Records whose checksum holds.
  std::uint64_t log_bytes = 0;   ///< Bytes of the log that were read.
  std::uint64_t looked_up = 0;   ///< Live records looked up by VerifyOptions::deep.
  Lsn end;                       ///< Everything below was looked at.
  bool deep = false;  ///< Whether filter and index were looked at, too. False when another problem forbids opening it.

  /// Whether there are no problems.
  bool sound() const { return problem_count == 0; }
};

/// Verifies the store in `directory`, in this order: LMDB's structure, from one snapshot; the small tables; every block
/// and record of the log, renewing the snapshot every 16 MB so that no space is pinned for long; the rows of the time
/// buckets; with `deep`, filter and index. LMDB itself only sees the pages when its structure is sound. Of what is
/// written while verify() runs, it looks at some or none.
///
/// Without `deep`, a store that nobody has open stays as it is, to the file: it may lie on a file system that is
/// mounted read-only, and a backup may be one that this user cannot write to. A process that opens the store waits
/// while the structure is read, and then for no more than 16 MB of the log at a time.
///
/// A store that this process has open is verified through that handle. No thread may open it here meanwhile otherwise.
///
/// Records that expire while verify() runs are no problem. A disk that has lost old blocks which the page cache still
/// holds is not found out; after an unclean reboot, when it matters, it is. Values of user tables have no checksum:
/// only their structure is checked.
///
/// Any thread. Errors, when nothing can be said: not_found, not_a_store, newer_format, no_permission, unsupported, io.
ONCELOG_API VerifyReport verify(const std::filesystem::path& directory, const VerifyOptions& options = {},
                                const VerifyProgressHook& progress = {});

}  // namespace oncelog
