#include "engine/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "lmdb/snapshot.h"
#include "log/intact_record.h"
#include "maintenance/hint_check.h"
#include "maintenance/store_check.h"

namespace oncelog::internal {
namespace {

constexpr const char* kData = "data.mdb";

/// What was accepted and not in the log yet.
void verify_ring(OpenedStore& store, VerifyReport& report, Lsn from, Lsn end, const VerifyOptions& options,
                 const std::function<void(const RecordView&, const MessageHash&, Lsn)>& look) {
  Problems problems(report, options.max_problems);
  std::vector<std::byte> bytes;
  // A log without a block begins with the first record.
  for (Lsn at = std::max(from, Lsn{store.header().ring_start}); at < end;) {
    if (!store.reader().copy(at, bytes)) {
      // Expired and trimmed meanwhile, or damaged: the log's begin tells.
      lmdb::ReadTxn& txn = store.reader().txn();
      const lmdb::ReadTxn::Active active(txn);
      const auto block = Log::block_at(txn, at);
      if (block && block->lsn > at) {
        at = block->lsn;
        continue;
      }
      problems.add(ProblemKind::record, fmt::format("LSN {}", at.value), "the shared memory holds no record there",
                   "what was accepted from there on cannot be flushed",
                   "close the store in every process; what is before it is saved when it is opened again");
      return;
    }
    const auto found = intact_record(bytes, at, store.identity().hash_seed);
    if (!found) {
      problems.add(ProblemKind::record, fmt::format("LSN {}", at.value),
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

}  // namespace

VerifyReport verify_store(OpenedStore& store, const VerifyOptions& options, const VerifyProgressHook& progress,
                          bool structure_known) {
  store.check_usable();
  const std::filesystem::path data = store.directory() / kData;
  VerifyReport report;
  StoreCheck check(report, options, progress, [&] { return store.clock().retention_us(); });
  const Lsn end = store.head();
  check.end_at(end);
  const bool sound = lmdb::with_snapshot(store.env(), data, [&](const lmdb::Pages& pages, const lmdb::Meta& meta) {
    const bool known_sound = structure_known || check.structure(pages, meta);
    report.pages = meta.last_page + 1;
    check.tables(pages, meta);
    return known_sound;
  });
  std::optional<HintCheck> hints;
  if (options.deep && sound) {
    hints.emplace(store.views(), store.identity().hash_seed,
                  [&](std::int64_t time_us) { return store.within_retention(time_us); });
  }
  const auto look = [&](const RecordView& record, const MessageHash& hash, Lsn lsn) {
    if (hints) hints->look(record, hash, lsn);
  };
  const auto some_more = [&](const lmdb::Pages& pages, const lmdb::Meta& meta) {
    const bool more = check.log(pages, meta, look);
    if (!more) check.buckets(pages, meta);
    return more;
  };
  while (lmdb::with_snapshot(store.env(), data, some_more)) {
  }
  if (hints) {
    verify_ring(store, report, check.position(), end, options, look);
    Problems problems(report, options.max_problems);
    hints->report(problems);
    report.looked_up = hints->looked_up();
    report.deep = true;
  }
  return report;
}

}  // namespace oncelog::internal
