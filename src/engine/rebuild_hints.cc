#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <oncelog/repair.h>

#include "base/error.h"
#include "engine/local_engine.h"
#include "engine/registry.h"
#include "lmdb/pages.h"
#include "maintenance/closed_store.h"
#include "maintenance/problems.h"
#include "maintenance/salvage.h"
#include "shared/directory.h"
#include "shared/live_directory.h"
#include "shared/live_place.h"
#include "shared/open_lock.h"
#include "shared/sealed_files.h"
#include "shared/view.h"

namespace oncelog {
namespace {

namespace fs = std::filesystem;

constexpr const char* kData = "data.mdb";

}  // namespace

void rebuild_hints(const std::filesystem::path& directory, const RepairOptions& options) {
  using namespace internal;
  const Options opening = options_to_open(options);
  check_directory(directory, opening);
  {
    // Where one is missing, the next process that opens the store saves the ring and rebuilds all of them, even when
    // this process dies now; so those that it would use for that go first.
    std::optional<OpenLock> lock;
    lock_alone(lock, directory);
    std::vector<fs::path> places{directory};
    const DataFile file(directory / kData);
    const lmdb::Pages pages(file.fd(), directory / kData);
    VerifyReport ignored;
    Problems problems(ignored, 0);
    Salvage salvage(pages, problems);
    fs::path noted = salvage.numbers().live_dir;
    if (noted.empty() && lock) noted = lock->formerly_noted_live_dir();
    // What a copy has noted is the original's, and what others have put there is theirs.
    if (const auto identity = salvage.identity()) {
      const Uuid store_file_id = store_file_id_of(directory, identity->store_id);
      const fs::path known = LivePlaces(fs::absolute(directory), store_file_id).noted(noted);
      if (!known.empty() && is_trusted(known, {.directory = directory})) places.push_back(known);
    }
    for (const fs::path& place : places) {
      std::error_code failed;  // A directory that is not there has no hints either.
      std::vector<fs::path> hints;
      for (fs::directory_iterator at(place, failed), end; !failed && at != end; at.increment(failed)) {
        const std::string name = at->path().filename().string();
        if (is_hint_name(name) || is_sealed_name(name)) hints.push_back(at->path());
      }
      std::partition(hints.begin(), hints.end(),
                     [](const fs::path& hint) { return is_sealed_name(hint.filename().string()); });
      for (const fs::path& hint : hints) {
        if (::unlink(hint.c_str()) != 0 && errno != ENOENT) throw system_error(errno, "unlink", hint);
      }
    }
  }
  open_engine(directory, opening, Host::system());
}

}  // namespace oncelog
