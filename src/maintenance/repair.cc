#include <oncelog/repair.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <oncelog/backup.h>

#include "base/error.h"
#include "base/host.h"
#include "maintenance/closed_store.h"
#include "maintenance/problems.h"
#include "maintenance/ring_records.h"
#include "maintenance/salvage.h"
#include "maintenance/salvaged_store.h"
#include "maintenance/staged_directory.h"
#include "shared/directory.h"
#include "shared/leases.h"
#include "shared/open_lock.h"
#include "shared/shared_state.h"

namespace oncelog {
namespace internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kData = "data.mdb";
constexpr std::uint64_t kMaxEpoch = (std::uint64_t{1} << (64 - LeaseTable::kEpochShift)) - 1;
constexpr std::uint64_t kEpochOfLost = std::uint64_t{1} << 22;  // No host has booted that often.

/// Where the shared memory of the store is, as far as is known.
fs::path live_dir_of(const fs::path& directory, const fs::path& noted, const fs::path& wanted,
                     const Uuid& store_file_id) {
  if (!wanted.empty()) return wanted / external_name(store_file_id);
  const bool elsewhere = noted != fs::path(Catalog::kOwnLiveDir) && noted.filename() == external_name(store_file_id);
  return elsewhere ? noted : directory;
}

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
    SalvagedStore store(staged.path(), map_bytes, *identity);
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

}  // namespace oncelog
