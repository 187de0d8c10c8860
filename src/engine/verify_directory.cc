#include "engine/verify_directory.h"

#include <optional>

#include "base/error.h"
#include "engine/local_engine.h"
#include "engine/registry.h"
#include "lmdb/snapshot.h"
#include "maintenance/closed_store.h"
#include "maintenance/store_check.h"
#include "shared/directory.h"
#include "shared/open_lock.h"

namespace oncelog::internal {
namespace {

constexpr const char* kData = "data.mdb";

std::int64_t wall_us() {
  return Host::system().wall_us();
}

/// All but the structure, of a store that nobody has open, in steps between which it may be opened; false when it was.
bool rest_while_closed(StoreCheck& check, const std::filesystem::path& directory) {
  for (bool first = true;; first = false) {
    std::optional<OpenLock> lock;
    if (!lock_if_closed(lock, directory)) return false;
    const DataFile file(directory / kData);
    const lmdb::Pages pages(file.fd(), directory / kData);
    const auto meta = pages.newest();
    if (!meta) return false;
    if (first) check.tables(pages, *meta);
    if (check.log(pages, *meta)) continue;
    check.buckets(pages, *meta);
    return true;
  }
}

/// The structure of data.mdb, before LMDB follows its pages; where it is damaged, as much of the rest as can be read.
bool structure_is_sound(StoreCheck& check, const std::filesystem::path& directory, const Options& reading) {
  const std::filesystem::path data = directory / kData;
  std::optional<OpenLock> lock;
  bool sound = true;
  if (lock_if_closed(lock, directory)) {
    const DataFile file(data);
    const lmdb::Pages pages(file.fd(), data);
    const auto meta = pages.newest();
    sound = check.structure(pages, meta ? *meta : pages.meta(0));
    if (!sound && meta) check.rest(pages, *meta);
    return sound;
  }
  // Another process has it open, and may write: a reader slot keeps the pages. LMDB itself looks at none of them.
  lock->pair();
  const lmdb::Env env(directory, MDB_NOTLS | MDB_NORDAHEAD, reading.map_bytes, reading.max_readers, 1);
  lmdb::with_snapshot(env, data, [&](const lmdb::Pages& pages, const lmdb::Meta& meta) {
    sound = check.structure(pages, meta);
    if (!sound) check.rest(pages, meta);
  });
  return sound;
}

/// What can be said of a store that does not open, and why it does not.
VerifyReport report_unopened(const std::filesystem::path& directory, const VerifyOptions& options,
                             const VerifyProgressHook& progress, const Error& error) {
  VerifyReport report;
  StoreCheck check(report, options, progress, wall_us);
  std::optional<OpenLock> lock;
  if (lock_if_closed(lock, directory)) {
    const DataFile file(directory / kData);
    const lmdb::Pages pages(file.fd(), directory / kData);
    if (const auto meta = pages.newest()) check.rest(pages, *meta);
  }
  Problems(report, options.max_problems)
      .add(ProblemKind::opening, directory.string(), error.what(), "the store does not open",
           "see the other problems; where there is none, restore the newest backup");
  return report;
}

}  // namespace

VerifyReport verify_directory(const std::filesystem::path& directory, const VerifyOptions& options,
                              const VerifyProgressHook& progress) {
  Options reading = options_to_open(options);
  reading.read_only = true;
  check_directory(directory, reading);
  if (const auto engine = engine_of(directory)) return engine->verify(options, progress);

  VerifyReport report;
  StoreCheck check(report, options, progress, wall_us);
  if (!structure_is_sound(check, directory, reading)) return report;
  const VerifyReport structure = report;
  if (!options.deep && rest_while_closed(check, directory)) return report;
  try {
    report = open_engine(directory, reading, Host::system())->verify(options, progress, true);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt && error.code() != ErrorCode::in_use &&
        error.code() != ErrorCode::not_a_store) {
      throw;
    }
    report = report_unopened(directory, options, progress, error);
  }
  // Both look at other things: what was found is the sum.
  report.pages = structure.pages;
  report.free_pages = structure.free_pages;
  report.problems.insert(report.problems.begin(), structure.problems.begin(), structure.problems.end());
  report.problem_count += structure.problem_count;
  return report;
}

}  // namespace oncelog::internal
