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
#include "shared/live_directory.h"
#include "shared/live_place.h"
#include "shared/open_lock.h"
#include "shared/shared_state.h"

namespace oncelog {
namespace internal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kData = "data.mdb";
constexpr const char* kLive = "live";
constexpr std::uint64_t kEpochOfLost = std::uint64_t{1} << 22;  // No host has booted that often.

/// Where the shared memory of the store is, as far as is known.
fs::path live_dir_of(const fs::path& directory, const fs::path& noted, const fs::path& wanted,
                     const Uuid& store_file_id) {
  const LivePlaces places(fs::absolute(directory), store_file_id);
  if (!wanted.empty()) return places.given(wanted);
  const fs::path known = places.noted(noted);
  return known.empty() ? places.own() : known;
}

/// Saves what a damaged store holds into a new one. Nobody has the damaged one open, which is only read. Used once.
class Repair {
 public:
  /// `lock`: of the damaged store; null where it needs none.
  Repair(const fs::path& directory, const OpenLock* lock, const RepairOptions& options,
         const VerifyProgressHook& progress)
      : directory_(directory),
        data_(directory / kData),
        lock_(lock),
        options_(options),
        progress_(progress),
        file_(data_),
        pages_(file_.fd(), data_),
        problems_(found_, options.max_problems),
        salvage_(pages_, problems_) {}

  RepairReport save_into(const fs::path& into) {
    if (!salvage_.usable()) {
      throw error_at(ErrorCode::corrupt, data_,
                     "neither of its meta pages can be used, so that nothing leads to what is in it; restore "
                     "a backup");
    }
    find_identity();
    StagedDirectory staged(into, directory_);
    numbers_ = salvage_.numbers();
    fill(staged.path());
    refuse_if_nothing_is_saved();
    publish(staged);
    report_.problems = std::move(found_.problems);
    report_.problem_count = found_.problem_count;
    return std::move(report_);
  }

 private:
  void find_identity() {
    const std::optional<StoreIdentity> identity = salvage_.identity();
    identity_known_ = identity.has_value();
    if (!identity_known_) {
      problems_.add(ProblemKind::identity, data_.string(), "the key of the records' checksums is lost from every page",
                    "an intact record cannot be distinguished from a damaged one: every id is fresh, or too_old",
                    "restore a backup; user tables and scopes are saved");
    }
    identity_ = identity_known_ ? *identity : new_identity(options_.buckets, options_.retention);
    identity_.format_version = std::max(identity_.format_version, kFormatVersion);
  }

  void fill(const fs::path& staged) {
    // The new file is at most as large as what is read, and what a commit needs besides.
    constexpr std::uint64_t kMapSlack = std::uint64_t{1} << 30;
    constexpr std::uint64_t kGranule = std::uint64_t{64} << 10;
    const std::uint64_t map_bytes = (2 * pages_.file_bytes() + kMapSlack) / kGranule * kGranule;
    SalvagedStore store(staged, map_bytes, identity_);
    bool log_lost = true;
    if (identity_known_) {
      save_log(store);
      const bool ring_lost = !save_ring(store, staged);
      log_lost = salvage_.log_damaged() || store.has_new_gaps(numbers_.gaps) || ring_lost;
      report_.records = store.records();
      report_.end = store.end();
    }
    save_scopes(store);
    save_user_entries(store);
    for (const auto& [which, value] : numbers_.settings) store.put_number(which, value);
    const std::uint64_t epoch = token_epoch();
    store.finish(epoch, known_since_us(log_lost), numbers_.gaps);
  }

  void save_log(SalvagedStore& store) {
    std::uint64_t bytes_done = 0;
    salvage_.log(identity_.hash_seed, [&](Lsn lsn, std::span<const std::byte> bytes) {
      store.append(lsn, bytes);
      bytes_done += bytes.size();
      if (progress_) progress_({"records", bytes_done, pages_.file_bytes()});
    });
  }

  /// What was accepted in this boot and is not in the log. False when some of that is lost.
  bool save_ring(SalvagedStore& store, const fs::path& staged) {
    const std::optional<SharedState> live = open_shared_memory(staged);
    if (!live) return true;
    const std::uint64_t from_log = store.records();
    const Lsn head = RingRecords(*live, identity_.hash_seed).each(store.end(), [&](Lsn lsn, auto bytes) {
      store.append(lsn, bytes);
    });
    report_.from_shared_memory = store.records() - from_log;
    // Acquire: pairs with the release by the thread that assigned it.
    live_epoch_ = live->header().leases.token_epoch.load(std::memory_order_acquire);
    const bool complete = store.end() == head || (store.end().value == 0 && head.value == kRecordUnit);
    if (!complete) {
      problems_.add(ProblemKind::record, lsn_name(store.end()),
                    fmt::format("records up to LSN {} were accepted, but are neither in the log nor in the shared "
                                "memory",
                                head.value),
                    "their ids are fresh", "restore a backup, where that matters");
    }
    return complete;
  }

  std::optional<SharedState> open_shared_memory(const fs::path& staged) const {
    fs::path noted = numbers_.live_dir;
    if (noted.empty() && lock_ != nullptr) noted = lock_->formerly_noted_live_dir();
    const Uuid store_file_id = store_file_id_of(directory_, identity_.store_id);
    const fs::path live_dir = live_dir_of(directory_, noted, options_.live_dir, store_file_id);
    const bool elsewhere = live_dir != LivePlaces(fs::absolute(directory_), store_file_id).own();
    const bool believed = !elsewhere || !options_.live_dir.empty() || is_trusted(live_dir, {.directory = directory_});
    if (!believed) return std::nullopt;
    fs::path live_file = live_dir / kLive;
    std::error_code absent;
    if (fs::exists(live_file, absent) && is_mounted_read_only(live_dir)) {
      // It is mapped writable, although nothing here writes to it.
      std::error_code failed;
      fs::copy_file(live_file, staged / kLive, failed);
      if (failed) throw system_error(failed.value(), "copying it", live_file);
      live_file = staged / kLive;
    }
    return SharedState::open(live_file, Host::system().boot_id(), store_file_id);
  }

  /// A scope that records name but no row does gets a name that says so.
  void save_scopes(SalvagedStore& store) {
    std::map<std::uint32_t, std::string> names;
    for (auto& [name, number] : salvage_.scopes()) names.emplace(number, name);
    const std::uint32_t highest = std::max(store.highest_scope(), names.empty() ? 0 : names.rbegin()->first);
    constexpr std::uint32_t kMostLostScopes = 1U << 16;  // More is a damaged number.
    std::uint32_t lost_scopes = 0;
    for (std::uint32_t number = 1; number <= highest && lost_scopes < kMostLostScopes; ++number) {
      const auto name = names.find(number);
      lost_scopes += name == names.end();
      store.put_scope(name != names.end() ? name->second : fmt::format("lost-scope-{}", number), number);
      ++report_.scopes;
      if (name != names.end()) continue;
      problems_.add(ProblemKind::scope, fmt::format("scope {}", number), "its name is lost",
                    "its ids are fresh under its name", fmt::format("they are under \"lost-scope-{}\"", number));
    }
  }

  void save_user_entries(SalvagedStore& store) {
    constexpr std::size_t kMaxKeyBytes = 511;  // LMDB takes no longer ones.
    salvage_.user_entries([&](std::string_view key, std::span<const std::byte> value, bool spare) {
      if (key.size() <= kMaxKeyBytes) report_.entries += store.put(key, value, spare);
    });
  }

  /// The epoch from which the new store's fencing tokens continue, above all that were given.
  std::uint64_t token_epoch() {
    const std::uint64_t epoch = std::max(numbers_.token_epoch.value_or(0), live_epoch_.value_or(0));
    if ((!numbers_.token_epoch && !live_epoch_) || epoch > LeaseTable::kMaxEpoch) {
      problems_.add(ProblemKind::number, "table meta", "the epoch of fencing tokens is lost",
                    "none; tokens continue from one that no host has reached", "nothing needs to be done");
      return kEpochOfLost;
    }
    return numbers_.doubtful ? std::min(epoch + kRestoreEpochs, LeaseTable::kMaxEpoch) : epoch;
  }

  /// Since when the new store knows every id: from now on where records are lost.
  std::uint64_t known_since_us(bool log_lost) {
    const auto now_us = static_cast<std::uint64_t>(Host::system().wall_us());
    const bool lost = log_lost || !numbers_.known_since_us;
    const std::uint64_t since_us = lost ? now_us : std::min(*numbers_.known_since_us, now_us);
    const std::int64_t edge_us = static_cast<std::int64_t>(now_us) - identity_.retention_us + 1;
    report_.known_since = Time{std::chrono::microseconds{std::max(static_cast<std::int64_t>(since_us), edge_us)}};
    return since_us;
  }

  void refuse_if_nothing_is_saved() const {
    if (report_.records != 0 || report_.entries != 0 || report_.scopes != 0 || problems_.none()) return;
    throw error_at(ErrorCode::corrupt, data_,
                   "nothing in it can be saved; restore a backup (the first of {} problems: {}: {})",
                   found_.problem_count, found_.problems.front().where, found_.problems.front().sentence);
  }

  void publish(StagedDirectory& staged) const {
    fs::remove(staged.path() / "lock.mdb");
    fs::remove(staged.path() / kLive);
    sync_path(staged.path() / kData);
    staged.give_to_owner_of(data_);
    staged.publish();
  }

  const fs::path& directory_;
  const fs::path data_;
  const OpenLock* const lock_;
  const RepairOptions& options_;
  const VerifyProgressHook& progress_;
  const DataFile file_;
  const lmdb::Pages pages_;
  VerifyReport found_;
  Problems problems_;
  Salvage salvage_;
  StoreIdentity identity_;
  bool identity_known_ = false;
  Salvage::Numbers numbers_;
  std::optional<std::uint64_t> live_epoch_;  // That of the shared memory.
  RepairReport report_;
};

}  // namespace
}  // namespace internal

RepairReport repair(const std::filesystem::path& directory, const std::filesystem::path& into,
                    const RepairOptions& options, const VerifyProgressHook& progress) {
  using namespace internal;
  check_directory(directory, options_to_read(options.allow_foreign_owner));
  std::optional<OpenLock> lock;
  lock_alone(lock, directory);
  return Repair(directory, lock ? &*lock : nullptr, options, progress).save_into(into);
}

}  // namespace oncelog
