#include "shared/live_place.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>
#include <system_error>

#include "base/error.h"
#include "shared/live_directory.h"
#include "shared/shared_state.h"
#include "window/buckets.h"
#include "window/index.h"
#include "window/window_filter.h"

namespace oncelog::internal {
namespace {

constexpr std::string_view kPrefix = "oncelog-";

std::string external_name(const Uuid& store_file_id) {
  std::string name(kPrefix);
  for (const std::uint8_t byte : store_file_id) name += fmt::format("{:02x}", byte);
  return name;
}

/// Absolute: of what does not exist yet a relative path would stay one.
std::filesystem::path resolved(const std::filesystem::path& path) {
  std::error_code failed;
  std::filesystem::path canonical = std::filesystem::weakly_canonical(std::filesystem::absolute(path), failed);
  if (failed) throw system_error(failed.value(), "resolving it", path);
  return canonical;
}

}  // namespace

std::filesystem::path LivePlaces::own() const {
  return resolved(directory_);
}

std::filesystem::path LivePlaces::given(const std::filesystem::path& live_dir) const {
  const std::filesystem::path parent = resolved(live_dir);
  const std::filesystem::path own_directory = own();
  // The last name is not resolved: what is there may be a link that somebody else has made.
  return parent == own_directory ? own_directory : parent / external_name(store_file_id_);
}

std::filesystem::path LivePlaces::noted(const std::filesystem::path& noted) const {
  if (noted == Catalog::kOwnLiveDir) return own();
  return noted.filename() == external_name(store_file_id_) ? noted : std::filesystem::path();
}

std::optional<std::filesystem::path> LivePlaces::in_tmpfs(const Host& host, std::uint64_t planned) const {
  struct stat data {};
  if (::stat((directory_ / "data.mdb").c_str(), &data) != 0) throw system_error(errno, "stat", directory_);
  if (::geteuid() != data.st_uid && ::geteuid() != 0) return std::nullopt;
  struct statfs own {};
  if (::statfs(directory_.c_str(), &own) != 0 || own.f_type == TMPFS_MAGIC) return std::nullopt;
  const auto tmpfs = host.boot_tmpfs(data.st_uid);
  if (!tmpfs) return std::nullopt;
  remove_left_over(tmpfs->directory, host.boot_id());
  return has_room(*tmpfs, planned) ? std::optional(given(tmpfs->directory)) : std::nullopt;
}

std::optional<Uuid> store_file_id_in(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  Uuid id{};
  if (name.size() != 2 * id.size()) return std::nullopt;
  for (std::size_t i = 0; i < id.size(); ++i) {
    const char* const digits = name.data() + 2 * i;
    if (std::from_chars(digits, digits + 2, id[i], 16).ptr != digits + 2) return std::nullopt;
  }
  return id;
}

std::uint64_t planned_bytes(const Settings& settings, unsigned buckets,
                            const std::vector<std::pair<std::uint64_t, BucketRow>>& rows) {
  constexpr unsigned kSpareTables = 2;  // That of the next bucket, and one to heal.
  std::uint64_t ids = BucketRules::planned_ids_for(settings.expected_ids, buckets);
  for (const auto& [number, row] : rows) ids = std::max(ids, std::min(row.entries, Settings::kMaxExpectedIds));
  return SharedState::file_bytes(settings.max_claims, settings.ring_bytes) +
         FilterGeneration::file_bytes(FilterGeneration::lines_for(ids)) +
         (buckets + kSpareTables) * IndexTable::file_bytes(IndexTable::slots_for(ids));
}

bool has_room(const BootTmpfs& tmpfs, std::uint64_t planned) {
  struct statfs filesystem {};
  if (::statfs(tmpfs.directory.c_str(), &filesystem) != 0 || filesystem.f_type != TMPFS_MAGIC) return false;
  std::uint64_t size = tmpfs.memory_limit;
  std::uint64_t free = tmpfs.free_memory;
  // One without a limit says that it has no block at all.
  if (filesystem.f_blocks != 0) {
    const auto block = static_cast<std::uint64_t>(filesystem.f_bsize);
    size = std::min(size, filesystem.f_blocks * block);
    free = std::min(free, filesystem.f_bavail * block);
  }
  return planned <= free / 3 && planned <= size / 4;
}

}  // namespace oncelog::internal
