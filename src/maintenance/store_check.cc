#include "maintenance/store_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "log/intact_record.h"
#include "log/log.h"
#include "maintenance/sealed_check.h"
#include "window/buckets.h"

namespace oncelog::internal {
namespace {

constexpr std::size_t kBytesPerSnapshot = std::size_t{16} << 20;
constexpr std::size_t kMostRows = 4096;  // Of a sound store: some 15 live ones, and those of buckets not deleted yet.

template <typename T>
T load(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof value);
  return value;
}

}  // namespace

StoreCheck::StoreCheck(VerifyReport& report, const VerifyOptions& options, const VerifyProgressHook& progress,
                       std::function<std::int64_t()> now_us)
    : report_(report),
      problems_(report, options.max_problems),
      progress_(progress),
      clock_(std::move(now_us)),
      now_us_(clock_()) {}

bool StoreCheck::structure(const lmdb::Pages& pages, const lmdb::Meta& meta) {
  page_bytes_ = pages.page_bytes();
  bool sound = true;
  for (const unsigned which : {0U, 1U}) {
    const lmdb::Meta one = pages.meta(which);
    if (one.usable()) continue;
    sound = false;
    problems_.add(ProblemKind::meta, page_name(which), one.fault,
                  "LMDB does not open the file, or falls back on the commit before the last one", kRestoreOrRepair);
  }
  // One commit writes the one, the next the other. Read until neither has moved meanwhile.
  lmdb::Meta first = pages.meta(0);
  lmdb::Meta second = pages.meta(1);
  for (unsigned tries = 0; tries < 1000 && pages.meta(0).transaction != first.transaction; ++tries) {
    first = pages.meta(0);
    second = pages.meta(1);
  }
  const std::uint64_t apart = first.transaction < second.transaction ? second.transaction - first.transaction
                                                                     : first.transaction - second.transaction;
  if (first.usable() && second.usable() && apart > 1) {
    sound = false;
    problems_.add(
        ProblemKind::meta, page_name(first.transaction < second.transaction ? 0 : 1),
        fmt::format("the two meta pages are of transactions {} and {}", first.transaction, second.transaction),
        "one of them is damaged, or of another file: commits may be lost", kRestoreOrRepair);
  }
  const auto step = [&](std::uint64_t done) {
    if (progress_) progress_({"pages", done, meta.last_page + 1});
  };
  if (!meta.usable()) return false;
  const lmdb::PageCensus census = pages.census(
      meta, [&](const lmdb::Fault& fault) { problems_.add(fault); }, step);
  report_.pages = census.pages;
  report_.free_pages = census.free;
  sound = sound && census.faults == 0;
  // Beside what cannot be reached the pages below it are lost as a matter of course.
  if (sound && census.lost != 0) {
    problems_.add(ProblemKind::space, "data.mdb", fmt::format("{} pages are neither used nor free", census.lost),
                  "none; the space is never used again",
                  "nothing needs to be done; a backup that is restored has the space back");
  }
  return sound;
}

void StoreCheck::tables(const lmdb::Pages& pages, const lmdb::Meta& meta) {
  TableCheck(pages, meta, now_us_, problems_, facts_).check();
}

void StoreCheck::rest(const lmdb::Pages& pages, const lmdb::Meta& meta) {
  tables(pages, meta);
  while (log(pages, meta)) {
  }
  buckets(pages, meta);
}

StoreCheck::Rows StoreCheck::rows(const lmdb::Pages& pages, const lmdb::Meta& meta, bool report) {
  Rows rows;
  const auto fault = [&](const lmdb::Fault& found) {
    if (report) problems_.add(found);
  };
  const auto table = pages.table(meta, "buckets", fault);
  if (!table) return rows;
  pages.each(
      *table,
      [&](const lmdb::TreeEntry& entry) {
        if (entry.number() && entry.value.size() == sizeof(BucketRow) && rows.size() < kMostRows) {
          rows.emplace_back(*entry.number(), load<BucketRow>(entry.value));
        } else if (report) {
          problems_.add(ProblemKind::bucket, page_name(entry.page),
                        fmt::format("a bucket's row has {} bytes instead of {}", entry.bytes, sizeof(BucketRow)),
                        "the store does not open after a reboot", kRepair);
        }
        return true;
      },
      fault);
  return rows;
}

/// What a size cap makes the store forget is noted in the commit that deletes its bucket's row.
void StoreCheck::read_known_since(const lmdb::Pages& pages, const lmdb::Meta& meta) {
  const auto ignore = [](const lmdb::Fault&) {};  // Reported by tables().
  const auto table = pages.table(meta, "meta", ignore);
  if (!table) return;
  pages.each(
      *table,
      [&](const lmdb::TreeEntry& entry) {
        const auto since = stored_number(entry.value);
        if (since && entry.text() == Catalog::key_of(Catalog::Number::known_since_us)) facts_.set_known_since(*since);
        return true;
      },
      ignore);
}

bool StoreCheck::log(const lmdb::Pages& pages, const lmdb::Meta& meta, const RecordHook& record) {
  page_bytes_ = pages.page_bytes();
  const auto fault = [&](const lmdb::Fault& found) { problems_.add(found); };
  const auto table = pages.table(meta, "log", fault);
  if (!table) return false;
  rows_ = rows(pages, meta, false);
  read_known_since(pages, meta);
  now_us_ = clock_();
  std::size_t budget = kBytesPerSnapshot;
  bool more = false;
  bool first_of_snapshot = true;
  pages.each(
      *table,
      [&](const lmdb::TreeEntry& entry) {
        if (budget == 0) {
          more = true;
          return false;
        }
        const auto key = entry.number();
        if (!key || *key % kRecordUnit != 0 || *key == 0) {
          problems_.add(ProblemKind::block, page_name(entry.page), "a block's key is no LSN",
                        "its records are not found", kRepair);
          return true;
        }
        const Lsn lsn{*key};
        if (any_block_ && limit_ && lsn >= *limit_) return false;
        if (any_block_ && lsn < at_) {
          problems_.add(ProblemKind::block, lsn_name(lsn),
                        fmt::format("the block begins before the end of the one before it, {}", at_.value),
                        "some of its records are not found", kRepair);
          return true;
        }
        if (any_block_ && lsn > at_) {
          // Blocks are trimmed from the front while this runs, and repair() leaves out what it could not save.
          const bool noted = std::ranges::any_of(
              facts_.gaps, [&](const auto& gap) { return gap.first <= at_.value && lsn.value <= gap.second; });
          if (!first_of_snapshot && !noted) {
            problems_.add(ProblemKind::block, lsn_name(at_),
                          fmt::format("there is a gap in the log, up to LSN {}", lsn.value),
                          "ids that were processed there are fresh, until their retention is past; data.mdb may have "
                          "been replaced by an older copy",
                          "nothing brings them back; restore, not cp, says that they are forgotten (known_since)");
          }
        }
        first_of_snapshot = false;
        any_block_ = true;
        block(pages, entry, lsn, record);
        at_ = Lsn{lsn.value + entry.bytes};
        budget -= std::min<std::size_t>(budget, static_cast<std::size_t>(entry.bytes) + 1);
        return true;
      },
      // The block that ends at at_ is left out by its key, and so are all before it.
      fault, any_block_ ? std::optional(at_.value) : std::nullopt);
  report_.end = at_;
  return more;
}

void StoreCheck::block(const lmdb::Pages& pages, const lmdb::TreeEntry& entry, Lsn lsn, const RecordHook& record) {
  const std::size_t max_block = Log::kBlockPages * pages.page_bytes() - Log::kRunHeaderBytes;
  if (entry.bytes % kRecordUnit != 0 || entry.bytes < round_to_unit(kRecordHeaderBytes) ||
      entry.bytes > std::max(max_block, kMaxRecordBytes)) {
    problems_.add(ProblemKind::block, lsn_name(lsn), fmt::format("the block has {} bytes", entry.bytes),
                  "its records are not found", kRepair);
    return;
  }
  buffer_.resize(static_cast<std::size_t>(entry.bytes));
  if (!pages.read(entry, 0, buffer_, [&](const lmdb::Fault& found) { problems_.add(found); })) return;
  ++report_.blocks;
  report_.log_bytes += entry.bytes;
  if (progress_ && report_.blocks % 64 == 0) {
    progress_({"records", report_.log_bytes, (report_.pages - report_.free_pages) * page_bytes_});
  }
  if (facts_.identity) records(buffer_, lsn, record);
}

void StoreCheck::records(std::span<const std::byte> bytes, Lsn lsn, const RecordHook& hook) {
  const std::uint64_t hash_seed = facts_.identity->hash_seed;
  for_each_record(
      bytes, lsn, hash_seed,
      [&](const RecordView& record, const MessageHash& hash, Lsn here) {
        check_record(record, here);
        if (hook) hook(record, hash, here);
      },
      [&](Lsn here, std::span<const std::byte> rest) {
        const std::size_t damaged = next_intact(rest, kRecordUnit, here, hash_seed);
        problems_.add(ProblemKind::record, lsn_name(here),
                      fmt::format("the {} bytes from there on are no intact record", damaged),
                      "looking up an id that was there throws corrupt, and the store may not open after a reboot",
                      kRepair);
        return damaged;
      });
}

void StoreCheck::check_record(const RecordView& record, Lsn lsn) {
  ++report_.records;
  const std::uint32_t scope = record.header.scope;
  if ((record.header.flags() & kUncommitted) != 0) {
    problems_.add(ProblemKind::record, lsn_name(lsn), "a record of a transaction that did not commit is in the log",
                  "its id is in_progress forever", kRepair);
  } else if ((record.header.flags() & kVoid) == 0 && (scope == 0 || scope > facts_.scope_count)) {
    // A scope that was added after the tables were read is in a later snapshot; its first record comes after it.
    if (unknown_scopes_.size() < kMostRows) unknown_scopes_.emplace(scope, lsn);
  }
  count(record, lsn);
}

bool StoreCheck::is_live(std::int64_t time_us) const {
  return facts_.identity && time_us + facts_.identity->retention_us > now_us_ && time_us >= facts_.known_since_us;
}

void StoreCheck::count(const RecordView& record, Lsn lsn) {
  const auto after =
      std::ranges::upper_bound(rows_, lsn.value, {}, [](const auto& row) { return row.second.first_lsn; });
  if (after == rows_.begin()) {
    if (is_live(record.header.time_us()) && homeless_++ == 0) first_homeless_ = lsn;
    return;
  }
  Seen& seen = seen_[std::prev(after)->first];
  if (seen.entries == 0) seen.first = lsn;
  seen.entries += record.header.has_attributes() ? 2 : 1;
  seen.newest_us = std::max(seen.newest_us, record.header.time_us());
}

void StoreCheck::buckets(const lmdb::Pages& pages, const lmdb::Meta& meta) {
  if (facts_.identity) check_sealed(pages, meta, *facts_.identity, problems_);
  const Rows all = rows(pages, meta, true);
  std::uint64_t before = 0;
  const Lsn end = limit_ ? end_of_log(pages, meta, at_) : at_;
  for (const auto& [number, row] : all) {
    const std::string where = fmt::format("bucket {}", number);
    if (row.first_lsn % kRecordUnit != 0 || row.first_lsn < kRecordUnit || row.first_lsn <= before ||
        row.first_lsn > end.value) {
      problems_.add(ProblemKind::bucket, where,
                    fmt::format("its row says that it begins at LSN {}, after {} and before {}", row.first_lsn, before,
                                end.value),
                    "the store does not open after a reboot, or forgets live ids then", kRepair);
      continue;
    }
    before = row.first_lsn;
    const auto found = seen_.find(number);
    if (found == seen_.end() || !is_live(found->second.newest_us)) continue;
    const Seen& seen = found->second;
    if (row.newest_us < seen.newest_us) {
      // Unsigned: a row says what it likes, and the distance may be more than an int64_t takes.
      const std::uint64_t apart_us =
          static_cast<std::uint64_t>(seen.newest_us) - static_cast<std::uint64_t>(row.newest_us);
      problems_.add(ProblemKind::bucket, where,
                    fmt::format("its row says that its newest record is {} us older than it is", apart_us),
                    "after a reboot its ids are fresh too early by that much", kRepair);
    }
    if (row.entries < seen.entries) {
      problems_.add(ProblemKind::bucket, where,
                    fmt::format("its row counts {} entries, but there are {}", row.entries, seen.entries),
                    "none; an older oncelog does not open the store after a reboot", kRepair);
    }
  }
  if (homeless_ != 0) {
    problems_.add(ProblemKind::bucket, lsn_name(first_homeless_),
                  fmt::format("{} live records from there on belong to no bucket's row", homeless_),
                  "after a reboot their ids are fresh", kRepair);
  }
  if (unknown_scopes_.empty()) return;
  if (const auto table = pages.table(meta, "scopes", [](const lmdb::Fault&) {})) facts_.scope_count = table->entries;
  for (const auto& [scope, lsn] : unknown_scopes_) {
    if (scope != 0 && scope <= facts_.scope_count) continue;
    problems_.add(ProblemKind::scope, lsn_name(lsn), fmt::format("a record is of scope {}, which has no name", scope),
                  "its id is not found under any scope", kRepair);
  }
}

}  // namespace oncelog::internal
