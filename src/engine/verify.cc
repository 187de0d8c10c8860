#include <oncelog/verify.h>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include <oncelog/store.h>

#include "engine/engine.h"
#include "engine/registry.h"
#include "lmdb/snapshot.h"
#include "log/intact_record.h"
#include "maintenance/hint_check.h"
#include "maintenance/store_check.h"
#include "shared/directory.h"
#include "shared/open_lock.h"

namespace oncelog {
namespace internal {
namespace {

constexpr const char* kData = "data.mdb";

std::int64_t wall_us() {
  return Host::system().wall_us();
}

}  // namespace

VerifyReport Engine::verify(const VerifyOptions& options, const VerifyProgressHook& progress, bool structure_known) {
  check_usable();
  const std::filesystem::path data = directory_ / kData;
  VerifyReport report;
  StoreCheck check(report, options, progress, [this] { return clock_->retention_us(); });
  const Lsn end = head();
  check.end_at(end);
  const bool sound = lmdb::with_snapshot(*env_, data, [&](const lmdb::Pages& pages, const lmdb::Meta& meta) {
    const bool known_sound = structure_known || check.structure(pages, meta);
    report.pages = meta.last_page + 1;
    check.tables(pages, meta);
    return known_sound;
  });
  std::optional<HintCheck> hints;
  if (options.deep && sound) {
    hints.emplace(*views_, identity_.hash_seed, [this](std::int64_t time_us) { return within_retention(time_us); });
  }
  const auto look = [&](const RecordView& record, const MessageHash& hash, Lsn lsn) {
    if (hints) hints->look(record, hash, lsn);
  };
  const auto some_more = [&](const lmdb::Pages& pages, const lmdb::Meta& meta) {
    const bool more = check.log(pages, meta, look);
    if (!more) check.buckets(pages, meta);
    return more;
  };
  while (lmdb::with_snapshot(*env_, data, some_more)) {
  }
  if (hints) {
    verify_ring(report, check.position(), end, options, look);
    Problems problems(report, options.max_problems);
    hints->report(problems);
    report.looked_up = hints->looked_up();
    report.deep = true;
  }
  return report;
}

/// What was accepted and not in the log yet.
void Engine::verify_ring(VerifyReport& report, Lsn from, Lsn end, const VerifyOptions& options,
                         const std::function<void(const RecordView&, const MessageHash&, Lsn)>& look) {
  std::vector<std::byte> bytes;
  // A log without a block begins with the first record.
  for (Lsn at = std::max(from, Lsn{live_->header().ring_start}); at < end;) {
    if (!reader().copy(at, bytes)) {
      // Expired and trimmed meanwhile, or damaged: the log's begin tells.
      lmdb::ReadTxn& txn = reader().txn();
      const lmdb::ReadTxn::Active active(txn);
      const auto block = Log::block_at(txn, at);
      if (block && block->lsn > at) {
        at = block->lsn;
        continue;
      }
      Problems(report, options.max_problems)
          .add(ProblemKind::record, fmt::format("LSN {}", at.value), "the shared memory holds no record there",
               "what was accepted from there on cannot be flushed",
               "close the store in every process; what is before it is saved when it is opened again");
      return;
    }
    const auto found = intact_record(bytes, at, identity_.hash_seed);
    if (!found) {
      Problems(report, options.max_problems)
          .add(ProblemKind::record, fmt::format("LSN {}", at.value),
               "the record in the shared memory does not match its checksum", "looking its id up throws corrupt",
               "close the store in every process, then: oncelog repair --hints");
    } else {
      ++report.records;
      look(found->first, found->second, at);
    }
    at.value += bytes.size();
  }
  report.end = std::max(report.end, end);
}

}  // namespace internal

VerifyReport Store::verify(const VerifyOptions& options, const VerifyProgressHook& progress) const {
  return engine_->verify(options, progress, false);
}

namespace internal {
namespace {

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

}  // namespace
}  // namespace internal

VerifyReport verify(const std::filesystem::path& directory, const VerifyOptions& options,
                    const VerifyProgressHook& progress) {
  using namespace internal;
  Options reading;
  reading.create = false;
  reading.read_only = true;
  reading.live_dir = options.live_dir;
  reading.allow_foreign_owner = options.allow_foreign_owner;
  reading.allow_network_filesystem = options.allow_network_filesystem;
  if (options.map_bytes) reading.map_bytes = *options.map_bytes;
  if (options.max_readers) reading.max_readers = *options.max_readers;
  check_directory(directory, reading);
  if (const auto engine = engine_of(directory)) return engine->verify(options, progress, false);

  const std::filesystem::path data = directory / kData;
  VerifyReport report;
  StoreCheck check(report, options, progress, wall_us);
  {
    std::optional<OpenLock> lock;
    bool sound = true;
    if (lock_if_closed(lock, directory)) {
      const DataFile file(data);
      const lmdb::Pages pages(file.fd(), data);
      const auto meta = pages.newest();
      sound = check.structure(pages, meta ? *meta : pages.meta(0));
      if (!sound && meta) check.rest(pages, *meta);
    } else {
      // Another process has it open, and may write: a reader slot keeps the pages. LMDB itself looks at none of them.
      lock->pair();
      const lmdb::Env env(directory, MDB_NOTLS | MDB_NORDAHEAD, reading.map_bytes, reading.max_readers, 1);
      lmdb::with_snapshot(env, data, [&](const lmdb::Pages& pages, const lmdb::Meta& meta) {
        sound = check.structure(pages, meta);
        if (!sound) check.rest(pages, meta);
      });
    }
    if (!sound) return report;
  }
  const VerifyReport structure = report;
  if (!options.deep && rest_while_closed(check, directory)) return report;
  try {
    const auto engine = open_engine(directory, reading, Host::system());
    report = engine->verify(options, progress, true);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt && error.code() != ErrorCode::in_use &&
        error.code() != ErrorCode::not_a_store) {
      throw;
    }
    report = {};
    std::optional<OpenLock> lock;
    if (lock_if_closed(lock, directory)) {
      const DataFile file(data);
      const lmdb::Pages pages(file.fd(), data);
      if (const auto meta = pages.newest()) check.rest(pages, *meta);
    }
    Problems(report, options.max_problems)
        .add(ProblemKind::opening, directory.string(), error.what(), "the store does not open",
             "see the other problems; where there is none, restore the newest backup");
  }
  // Both look at other things: what was found is the sum.
  report.pages = structure.pages;
  report.free_pages = structure.free_pages;
  report.problems.insert(report.problems.begin(), structure.problems.begin(), structure.problems.end());
  report.problem_count += structure.problem_count;
  return report;
}

}  // namespace oncelog
