#include <oncelog/repair.h>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include <oncelog/backup.h>
#include <oncelog/store.h>

#include "base/error.h"
#include "base/shared_memory.h"
#include "lmdb/catalog.h"
#include "lmdb/user_tables.h"
#include "log/intact_record.h"
#include "log/log.h"
#include "maintenance/salvage.h"
#include "maintenance/staged_directory.h"
#include "shared/directory.h"
#include "shared/leases.h"
#include "shared/open_lock.h"
#include "shared/shared_state.h"
#include "window/buckets.h"

namespace oncelog {
namespace internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kData = "data.mdb";
constexpr std::uint64_t kMaxEpoch = (std::uint64_t{1} << (64 - LeaseTable::kEpochShift)) - 1;
constexpr std::uint64_t kEpochOfLost = std::uint64_t{1} << 22;  // No host has booted that often.
constexpr std::uint64_t kBytesPerCommit = std::uint64_t{16} << 20;

/// Where the shared memory of the store is, as far as is known.
fs::path live_dir_of(const fs::path& directory, const fs::path& noted, const fs::path& wanted,
                     const Uuid& store_file_id) {
  if (!wanted.empty()) return wanted / external_name(store_file_id);
  const bool elsewhere = noted != fs::path(Catalog::kOwnLiveDir) && noted.filename() == external_name(store_file_id);
  return elsewhere ? noted : directory;
}

/// Writes the new store, a commit at a time.
class NewStore {
 public:
  NewStore(const fs::path& directory, std::uint64_t map_bytes, const StoreIdentity& identity)
      : env_(directory, MDB_NOTLS | MDB_NORDAHEAD, map_bytes, 8, 8),
        identity_(identity),
        rules_(BucketRules::make(identity.retention_us, identity.buckets, BucketRules::kMinPlannedIds)) {
    begin();
    catalog_.emplace(*txn_, MDB_CREATE);
    log_.emplace(*txn_, MDB_CREATE);
    user_ = txn_->open_table("user", MDB_CREATE);
    catalog_->put_identity(*txn_, identity_);
  }

  /// A run of whole records.
  void append(Lsn lsn, std::span<const std::byte> bytes) {
    if (end_.value != 0 && lsn > end_) gaps_.emplace_back(end_.value, lsn.value);
    make_room(bytes.size());
    std::ranges::copy(bytes, log_->append(*txn_, lsn, bytes.size()).begin());
    for (std::size_t at = 0; at < bytes.size();) {
      const auto record = decode_record(bytes.subspan(at));
      if (!record) break;  // Cannot be: they are whole.
      count(*record, Lsn{lsn.value + at});
      at += record->header.bytes();
    }
    end_ = Lsn{lsn.value + bytes.size()};
  }

  /// False when there is one of that key already and `spare` says to leave it.
  bool put(std::string_view key, std::span<const std::byte> value, bool spare) {
    make_room(key.size() + value.size());
    MDB_val key_val = lmdb::to_val(lmdb::to_bytes(key));
    MDB_val value_val = lmdb::to_val(value);
    const int code = mdb_put(txn_->get(), user_, &key_val, &value_val, spare ? MDB_NOOVERWRITE : 0);
    if (code == MDB_KEYEXIST) return false;
    env_.check(code, "mdb_put");
    return true;
  }

  void put_scope(std::string_view name, std::uint32_t number) {
    make_room(name.size());
    const ScopeRow row = ScopeRow::of(name, number);
    txn_->put(txn_->open_table("scopes", 0), lmdb::to_val(lmdb::to_bytes(name)), std::as_bytes(std::span(&row, 1)));
  }

  void put_number(Catalog::Number which, std::uint64_t value) { catalog_->put_number(*txn_, which, value); }

  void finish(std::uint64_t token_epoch, std::uint64_t known_since_us, const Gaps& older_gaps) {
    close_row();
    catalog_->put_number(*txn_, Catalog::Number::token_epoch, token_epoch);
    catalog_->put_number(*txn_, Catalog::Number::known_since_us, known_since_us);
    Gaps gaps;
    for (const Gap& gap : older_gaps) {
      // Those that lie within a gap of now are part of it.
      const bool covered = std::ranges::any_of(
          gaps_, [&](const auto& wider) { return wider.first <= gap.first && gap.second <= wider.second; });
      if (!covered) gaps.push_back(gap);
    }
    gaps.insert(gaps.end(), gaps_.begin(), gaps_.end());
    std::ranges::sort(gaps);
    if (!gaps.empty()) {
      std::vector<std::uint64_t> words;
      for (const auto& [begin, end] : gaps) words.insert(words.end(), {begin, end});
      txn_->put(txn_->open_table("meta", 0), lmdb::to_val(lmdb::to_bytes(kGapsKey)), std::as_bytes(std::span(words)));
      catalog_->seal_meta(*txn_);
    }
    txn_->commit();
    txn_.reset();
  }

  Lsn end() const { return end_; }
  std::uint64_t records() const { return records_; }
  std::uint32_t highest_scope() const { return highest_scope_; }
  bool has_new_gaps(const Gaps& known) const {
    return std::ranges::any_of(gaps_, [&](const auto& gap) {
      return std::ranges::none_of(known,
                                  [&](const auto& old) { return old.first <= gap.first && gap.second <= old.second; });
    });
  }

 private:
  using Gap = Gaps::value_type;

  void begin() { txn_.emplace(env_); }

  void make_room(std::size_t bytes) {
    written_ += bytes;
    if (written_ < kBytesPerCommit) return;
    txn_->commit();
    begin();
    written_ = 0;
  }

  /// Rows are made again from the records: a bucket for each slice of time.
  void count(const RecordView& record, Lsn lsn) {
    const std::int64_t time_us = record.header.time_us();
    if (number_ == 0 || time_us >= row_.slice_begin_us + rules_.slice_us) {
      close_row();
      ++number_;
      row_ = {lsn.value, rules_.slice_begin(time_us), 0, 0};
    }
    row_.entries += record.header.has_attributes() ? 2 : 1;
    row_.newest_us = std::max(row_.newest_us, time_us);
    ++records_;
    if ((record.header.flags() & kVoid) == 0) highest_scope_ = std::max(highest_scope_, record.header.scope);
  }

  void close_row() {
    if (number_ != 0) catalog_->put_bucket(*txn_, number_, row_);
  }

  lmdb::Env env_;
  const StoreIdentity identity_;
  const BucketRules rules_;
  std::optional<lmdb::WriteTxn> txn_;
  std::optional<Catalog> catalog_;
  std::optional<Log> log_;
  MDB_dbi user_ = 0;
  std::uint64_t written_ = 0;
  Lsn end_;
  Gaps gaps_;
  std::uint64_t number_ = 0;
  BucketRow row_;
  std::uint64_t records_ = 0;
  std::uint32_t highest_scope_ = 0;
};

/// The records of the ring that the log does not have: accepted in this boot and not flushed, or lost from the log's
/// end. Only read; the settling of a dead transaction's records happens in the copy.
class RingRecords {
 public:
  RingRecords(const SharedState& live, std::uint64_t hash_seed)
      : header_(live.header()), ring_(live.ring()), seed_(hash_seed) {}

  /// Calls visit(lsn, bytes) for each whole record at or above `from`, ascending. Returns the head, below which every
  /// record was accepted.
  template <typename Visit>
  Lsn each(Lsn from, Visit visit) const {
    // Acquire: pair with the releases of producers and flushers, all dead or gone by now.
    const std::uint64_t head = header_.marks.head.load(std::memory_order_acquire);
    const std::uint64_t writing = header_.marks.writing.load(std::memory_order_acquire);
    const std::uint64_t lowest = writing > ring_.bytes() ? writing - ring_.bytes() : 0;
    // Relaxed: nobody else has it.
    std::uint64_t at = std::max({from.value, lowest, header_.believed_from.load(std::memory_order_relaxed)});
    std::vector<std::uint64_t> words;
    while (at + kRecordHeaderBytes <= head) {
      if (const std::size_t bytes = copy(at, head, words); bytes != 0) {
        visit(Lsn{at}, std::as_bytes(std::span(words)));
        at += bytes;
      } else {
        at += kRecordUnit;  // The records' ends are known from one of them on.
      }
    }
    return Lsn{head};
  }

 private:
  std::size_t copy(std::uint64_t at, std::uint64_t head, std::vector<std::uint64_t>& words) const {
    std::array<std::uint64_t, round_to_unit(kRecordHeaderBytes) / kRecordUnit> first;
    if (at + sizeof first > head || !ring_.read(Lsn{at}, first)) return 0;
    const RecordHeader header = RecordHeader::load(reinterpret_cast<const std::byte*>(first.data()));
    if (!header.well_formed() || header.bytes() > head - at) return 0;
    words.resize(header.bytes() / kRecordUnit);
    if (!ring_.read(Lsn{at}, words)) return 0;
    const auto found = intact_record(std::as_bytes(std::span(words)), Lsn{at}, seed_);
    if (!found) return 0;
    const auto& [record, hash] = *found;
    if ((header.flags() & kUncommitted) != 0) {
      // Flushed and not settled: committed. Not flushed: of a transaction that never did.
      const bool committed = at < header_.marks.flushed.load(std::memory_order_acquire);
      const std::uint32_t flags =
          (header.flags() & ~kUncommitted) | (committed ? 0U : static_cast<std::uint32_t>(kVoid));
      const std::uint32_t units_flags = (header.units_flags & ((1U << kUnitBits) - 1)) | flags << kUnitBits;
      words[0] = RecordHeader::first_word(record.checksum(units_flags, Lsn{at}, hash.digest()), units_flags);
    }
    return header.bytes();
  }

  const SharedHeader& header_;
  const Ring ring_;
  const std::uint64_t seed_;
};

StoreIdentity new_identity(const RepairOptions& options) {
  StoreIdentity identity;
  identity.buckets = options.buckets.value_or(kDefaultBuckets);
  identity.retention_us = std::chrono::microseconds(options.retention.value_or(kDefaultRetention)).count();
  identity.store_id = random_uuid();
  fill_random(&identity.hash_seed, sizeof identity.hash_seed);
  return identity;
}

}  // namespace
}  // namespace internal

RepairReport repair(const std::filesystem::path& directory, const std::filesystem::path& into,
                    const RepairOptions& options, const VerifyProgressHook& progress) {
  using namespace internal;
  Options reading;
  reading.create = false;
  reading.read_only = true;
  reading.allow_foreign_owner = options.allow_foreign_owner;
  reading.allow_network_filesystem = true;
  check_directory(directory, reading);
  std::optional<OpenLock> lock;
  lock_alone(lock, directory);

  const fs::path data = directory / kData;
  const DataFile file(data);
  const lmdb::Pages pages(file.fd(), data);
  VerifyReport found;
  Problems problems(found, options.max_problems);
  Salvage salvage(pages, problems);
  if (!salvage.usable()) {
    throw error_at(ErrorCode::corrupt, data,
                   "neither of its meta pages can be used, so that nothing leads to what is in it; restore "
                   "a backup");
  }
  std::optional<StoreIdentity> identity = salvage.identity();
  const bool known_identity = identity.has_value();
  if (!identity) {
    problems.add(ProblemKind::identity, data.string(), "the key of the records' checksums is lost from every page",
                 "no record can be told from a damaged one: every id is fresh, or too_old",
                 "restore a backup; user tables and scopes are saved");
    identity = new_identity(options);
  }
  identity->format_version = kFormatVersion;

  StagedDirectory staged(into, directory);
  RepairReport report;
  // The new file is at most as large as what is read, and what a commit needs besides.
  constexpr std::uint64_t kMapSlack = std::uint64_t{1} << 30;
  constexpr std::uint64_t kGranule = std::uint64_t{64} << 10;
  const std::uint64_t map_bytes = (2 * pages.file_bytes() + kMapSlack) / kGranule * kGranule;
  bool log_lost = !known_identity;
  std::optional<std::uint64_t> live_epoch;
  Salvage::Numbers numbers = salvage.numbers();
  {
    NewStore store(staged.path(), map_bytes, *identity);
    std::uint64_t bytes_done = 0;
    if (known_identity) {
      salvage.log(identity->hash_seed, [&](Lsn lsn, std::span<const std::byte> bytes) {
        store.append(lsn, bytes);
        bytes_done += bytes.size();
        if (progress) progress({"records", bytes_done, pages.file_bytes()});
      });
      const std::uint64_t from_log = store.records();
      fs::path noted = numbers.live_dir;
      if (noted.empty() && lock) noted = lock->formerly_noted_live_dir();
      const Uuid store_file_id = store_file_id_of(directory, identity->store_id);
      const fs::path live_dir = live_dir_of(directory, noted, options.live_dir, store_file_id);
      fs::path live_file = live_dir / "live";
      std::error_code absent;
      if (fs::exists(live_file, absent) && is_mounted_read_only(live_dir)) {
        // It is mapped to be written, though nothing here does.
        std::error_code failed;
        fs::copy_file(live_file, staged.path() / "live", failed);
        if (failed) throw system_error(failed.value(), "copying it", live_file);
        live_file = staged.path() / "live";
      }
      const auto live = SharedState::open(live_file, Host::system().boot_id(), store_file_id);
      bool complete_by_ring = false;
      if (live) {
        const Lsn log_end = store.end();
        const Lsn head = RingRecords(*live, identity->hash_seed).each(log_end, [&](Lsn lsn, auto bytes) {
          store.append(lsn, bytes);
        });
        // Acquire: pairs with the release of who assigned it.
        live_epoch = live->header().leases.token_epoch.load(std::memory_order_acquire);
        complete_by_ring = store.end() == head || (store.end().value == 0 && head.value == kRecordUnit);
        if (!complete_by_ring) {
          problems.add(ProblemKind::record, fmt::format("LSN {}", store.end().value),
                       fmt::format("records up to LSN {} were accepted, but are neither in the log nor in the shared "
                                   "memory",
                                   head.value),
                       "their ids are fresh", "restore a backup, where that matters");
        }
      }
      report.from_shared_memory = store.records() - from_log;
      log_lost = salvage.log_damaged() || store.has_new_gaps(numbers.gaps) || (live && !complete_by_ring);
      report.records = store.records();
      report.end = store.end();
    }

    std::map<std::uint32_t, std::string> names;
    for (auto& [name, number] : salvage.scopes()) names.emplace(number, name);
    const std::uint32_t highest = std::max(store.highest_scope(), names.empty() ? 0 : names.rbegin()->first);
    constexpr std::uint32_t kMostLostScopes = 1U << 16;  // More is a damaged number.
    std::uint32_t lost_scopes = 0;
    for (std::uint32_t number = 1; number <= highest && lost_scopes < kMostLostScopes; ++number) {
      const auto name = names.find(number);
      lost_scopes += name == names.end();
      store.put_scope(name != names.end() ? name->second : fmt::format("lost-scope-{}", number), number);
      ++report.scopes;
      if (name != names.end()) continue;
      problems.add(ProblemKind::scope, fmt::format("scope {}", number), "its name is lost",
                   "its ids are fresh under its name", fmt::format("they are under \"lost-scope-{}\"", number));
    }

    salvage.user_entries([&](std::string_view key, std::span<const std::byte> value, bool spare) {
      if (key.size() > 511) return;
      report.entries += store.put(key, value, spare);
    });

    std::uint64_t epoch = std::max(numbers.token_epoch.value_or(0), live_epoch.value_or(0));
    if ((!numbers.token_epoch && !live_epoch) || epoch > kMaxEpoch) {
      epoch = kEpochOfLost;
      problems.add(ProblemKind::number, "table meta", "the epoch of fencing tokens is lost",
                   "none; tokens go on from one that no host has reached", "nothing needs to be done");
    } else if (numbers.doubtful) {
      epoch = std::min(epoch + kRestoreEpochs, kMaxEpoch);
    }
    const auto now_us = static_cast<std::uint64_t>(Host::system().wall_us());
    std::uint64_t known_since_us = std::min(numbers.known_since_us.value_or(now_us), now_us);
    if (log_lost || !numbers.known_since_us) known_since_us = now_us;
    const std::int64_t edge_us = static_cast<std::int64_t>(now_us) - identity->retention_us + 1;
    report.known_since = Time{std::chrono::microseconds{std::max(static_cast<std::int64_t>(known_since_us), edge_us)}};
    for (const auto& [which, value] : numbers.settings) store.put_number(which, value);
    store.finish(epoch, known_since_us, numbers.gaps);
  }
  if (report.records == 0 && report.entries == 0 && report.scopes == 0 && found.problem_count != 0) {
    throw error_at(ErrorCode::corrupt, data,
                   "nothing in it can be saved; restore a backup (the first of {} problems: {}: {})",
                   found.problem_count, found.problems.front().where, found.problems.front().sentence);
  }
  fs::remove(staged.path() / "lock.mdb");
  fs::remove(staged.path() / "live");
  sync_path(staged.path() / kData);
  staged.give_to_owner_of(data);
  staged.publish();
  report.problems = std::move(found.problems);
  report.problem_count = found.problem_count;
  return report;
}

void rebuild_hints(const std::filesystem::path& directory, const RepairOptions& options) {
  using namespace internal;
  Options opening;
  opening.create = false;
  opening.live_dir = options.live_dir;
  opening.allow_foreign_owner = options.allow_foreign_owner;
  opening.allow_network_filesystem = options.allow_network_filesystem;
  if (options.map_bytes) opening.map_bytes = *options.map_bytes;
  if (options.max_readers) opening.max_readers = *options.max_readers;
  check_directory(directory, opening);
  {
    // Where one is missing, the next to open the store saves the ring and makes all of them again; also when this
    // process dies now.
    std::optional<OpenLock> lock;
    lock_alone(lock, directory);
    std::vector<fs::path> places{directory};
    const DataFile file(directory / kData);
    const lmdb::Pages pages(file.fd(), directory / kData);
    VerifyReport ignored;
    Problems problems(ignored, 0);
    fs::path noted = Salvage(pages, problems).numbers().live_dir;
    if (noted.empty() && lock) noted = lock->formerly_noted_live_dir();
    if (noted.filename().string().starts_with("oncelog-")) {
      places.push_back(noted);
      if (opening.live_dir.empty()) opening.live_dir = noted.parent_path();
    }
    for (const fs::path& place : places) {
      std::error_code failed;  // A directory that is not there has no hints either.
      std::vector<fs::path> hints;
      for (fs::directory_iterator at(place, failed), end; !failed && at != end; at.increment(failed)) {
        const std::string name = at->path().filename().string();
        if (name.starts_with("filter-") || name.starts_with("index-")) hints.push_back(at->path());
      }
      for (const fs::path& hint : hints) {
        if (::unlink(hint.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", hint);
      }
    }
  }
  Store::open(directory, opening);
}

}  // namespace oncelog
