#include "shared/live_place.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "base/error.h"
#include "lmdb/catalog.h"

namespace oncelog::internal {
namespace {

std::string external_name(const Uuid& store_file_id) {
  std::string name = "oncelog-";
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

std::filesystem::path LivePlaces::within(const std::filesystem::path& live_dir) const {
  return resolved(live_dir / external_name(store_file_id_));
}

std::filesystem::path LivePlaces::noted(const std::filesystem::path& noted) const {
  if (noted == Catalog::kOwnLiveDir) return own();
  return noted.filename() == external_name(store_file_id_) ? noted : std::filesystem::path();
}

void make_live_directory(const std::filesystem::path& live_dir, const std::filesystem::path& directory) {
  std::error_code failed;
  const bool made = std::filesystem::create_directories(live_dir, failed);
  if (failed) throw system_error(failed.value(), "creating it", live_dir);
  if (!made || ::geteuid() != 0) return;
  struct stat data {};
  if (::stat((directory / "data.mdb").c_str(), &data) != 0) throw system_error(errno, "stat", directory);
  if (::lchown(live_dir.c_str(), data.st_uid, data.st_gid) != 0) throw system_error(errno, "lchown", live_dir);
}

}  // namespace oncelog::internal
