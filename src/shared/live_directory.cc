#include "shared/live_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/shared_memory.h"
#include "shared/live_place.h"
#include "shared/shared_state.h"
#include "shared/view.h"

namespace oncelog::internal {
namespace {

constexpr const char* kNote = "store";
constexpr const char* kLive = "live";
constexpr const char* kNewLive = "live-new";

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool names(const std::filesystem::path& path, int fd) {
  struct stat named {};
  struct stat opened {};
  return ::lstat(path.c_str(), &named) == 0 && ::fstat(fd, &opened) == 0 && same_file(named, opened);
}

/// Which file it is: a copy is another one, and so is a file that was made since in the place of it.
std::string identity_of(const std::filesystem::path& path) {
  // Neither waits for a server nor mounts anything.
  constexpr int kFlags = AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
  struct statx status {};
  if (::statx(AT_FDCWD, path.c_str(), kFlags, STATX_INO | STATX_BTIME, &status) != 0) return {};
  return fmt::format("{}:{} {} {}.{}", status.stx_dev_major, status.stx_dev_minor, status.stx_ino,
                     status.stx_btime.tv_sec, status.stx_btime.tv_nsec);
}

/// What the store in `directory` looks like from here, in the lines of a note: which mounts this process sees, the
/// directories above it from the root down, its own, its data.mdb, and last its path.
struct Note {
  std::array<std::string, 5> lines;

  static constexpr std::size_t kMounts = 0;
  static constexpr std::size_t kAbove = 1;  // Separated by commas.
  static constexpr std::size_t kDirectory = 2;
  static constexpr std::size_t kData = 3;
  static constexpr std::size_t kPath = 4;

  static Note of(const std::filesystem::path& directory) {
    std::error_code unknown;
    std::string above;
    std::filesystem::path at;
    for (const auto& name : directory.parent_path()) {
      if (!above.empty()) above += ',';
      above += identity_of(at /= name);
    }
    return {{std::filesystem::read_symlink("/proc/self/ns/mnt", unknown).string(), std::move(above),
             identity_of(directory), identity_of(directory / "data.mdb"), directory.string()}};
  }

  /// Nothing when it is not complete.
  static std::optional<Note> read(const std::filesystem::path& path) {
    const Descriptor file = open_descriptor(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    std::array<char, 2 * PATH_MAX> buffer;
    const ssize_t size = file ? ::read(file.get(), buffer.data(), buffer.size()) : -1;
    if (size <= 0) return std::nullopt;
    std::istringstream text(std::string(buffer.data(), static_cast<std::size_t>(size)));
    Note note;
    for (std::size_t i = 0; i < kPath; ++i) {
      if (!std::getline(text, note.lines[i]) || note.lines[i].empty()) return std::nullopt;
    }
    // A path may have several lines; a zero byte ends it.
    if (!std::getline(text, note.lines[kPath], '\0') || text.eof()) return std::nullopt;
    return note;
  }

  std::string text() const {
    std::string text;
    for (std::size_t i = 0; i < kPath; ++i) text += lines[i] + '\n';
    return text + lines[kPath] + '\0';
  }

  /// Whether another file system is mounted at the store's directory than the one that it lies in.
  bool has_mount() const {
    const auto device = [](const std::string& identity) { return identity.substr(0, identity.find(' ')); };
    return device(lines[kAbove].substr(lines[kAbove].rfind(',') + 1)) != device(lines[kDirectory]);
  }

  bool operator==(const Note&) const = default;
};

bool is_missing(const std::filesystem::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) != 0 && errno == ENOENT;
}

/// Whether the path to the store, seen through the same mounts, is as it was down to a name that is missing now, or to
/// another data.mdb. What is not as it was may be a file system that is not mounted now, or another one.
bool store_is_gone(const Note& noted) {
  const std::filesystem::path directory = noted.lines[Note::kPath];
  const Note now = Note::of(directory);
  if (noted.lines[Note::kMounts] != now.lines[Note::kMounts] || noted.has_mount()) return false;
  std::istringstream above(noted.lines[Note::kAbove]);
  std::filesystem::path at;
  for (const auto& name : directory.parent_path()) {
    std::string identity;
    if (is_missing(at /= name)) return true;
    if (!std::getline(above, identity, ',') || identity != identity_of(at)) return false;
  }
  if (is_missing(directory)) return true;
  if (now.has_mount() || now.lines[Note::kData] == noted.lines[Note::kData]) return false;
  return is_missing(directory / "data.mdb") || !now.lines[Note::kData].empty();
}

/// Whether all that the shared memory knows is in the log as well, and nobody holds a claim.
bool holds_nothing(const std::filesystem::path& live_dir, const Uuid& boot_id) {
  struct stat status {};
  if (::lstat((live_dir / kLive).c_str(), &status) != 0) return errno == ENOENT;
  const auto store_file_id = store_file_id_in(live_dir.filename().string());
  if (!store_file_id) return false;
  const auto live = SharedState::open(live_dir / kLive, boot_id, *store_file_id);
  if (!live) return false;
  const SharedHeader& header = live->header();
  // Relaxed: nobody uses it, by the exclusive lock on the directory.
  return header.marks.head.load(std::memory_order_relaxed) == header.marks.flushed.load(std::memory_order_relaxed) &&
         header.pending.begin.load(std::memory_order_relaxed) == 0 &&
         header.leases.held.load(std::memory_order_relaxed) == 0;
}

/// The files that oncelog makes in such a directory; the note last, so that what a death leaves is found again.
void remove_files(const std::filesystem::path& live_dir) {
  std::error_code failed;
  std::vector<std::filesystem::path> files{live_dir / kLive, live_dir / kNewLive};
  for (std::filesystem::directory_iterator at(live_dir, failed), end; !failed && at != end; at.increment(failed)) {
    if (is_hint_name(at->path().filename().string())) files.push_back(at->path());
  }
  files.push_back(live_dir / kNote);
  for (const auto& file : files) ::unlink(file.c_str());
}

void remove_if_left_over(const std::filesystem::path& live_dir, const Uuid& boot_id) {
  const Descriptor file = open_descriptor(live_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0 || status.st_uid != ::geteuid()) return;
  // Held by those who use it, and by those who are about to.
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 || !names(live_dir, file.get())) return;
  const auto note = Note::read(live_dir / kNote);
  if (!note || !store_is_gone(*note) || !holds_nothing(live_dir, boot_id)) return;
  remove_files(live_dir);
  ::rmdir(live_dir.c_str());
}

bool trusts(const LiveDirectory::Trust& trust, const struct stat& live_dir) {
  if (trust.everyone || live_dir.st_uid == ::geteuid() || live_dir.st_uid == 0) return true;
  struct stat data {};
  if (::stat((trust.directory / "data.mdb").c_str(), &data) != 0) throw system_error(errno, "stat", trust.directory);
  return live_dir.st_uid == data.st_uid;
}

/// Gives a new directory what the store's own has: its owner where root makes it, so that root does not lock that user
/// out by being the first to open the store after a reboot; its group, and its rights.
void take_over_rights(int made, const std::filesystem::path& live_dir, const std::filesystem::path& directory) {
  struct stat data {};
  struct stat own {};
  if (::stat((directory / "data.mdb").c_str(), &data) != 0 || ::stat(directory.c_str(), &own) != 0) {
    throw system_error(errno, "stat", directory);
  }
  const bool root = ::geteuid() == 0;
  // Nobody else has a right on the files in it; but could lock a directory that may be read.
  mode_t mode = S_IRWXU | (own.st_mode & (S_ISGID | S_IRWXG));
  if (::fchown(made, root ? data.st_uid : static_cast<uid_t>(-1), own.st_gid) != 0) {
    if (root || errno != EPERM) throw system_error(errno, "fchown", live_dir);
    mode &= ~static_cast<mode_t>(S_ISGID | S_IRWXG);  // The rights of a group that this user is not in.
  }
  if (::fchmod(made, mode) != 0) throw system_error(errno, "fchmod", live_dir);
}

/// Under another name until it is complete, so that a death leaves nothing that its owner cannot use: an empty
/// directory at most.
void make_live_directory(const std::filesystem::path& live_dir, const std::filesystem::path& directory) {
  std::error_code failed;
  std::filesystem::create_directories(live_dir.parent_path(), failed);
  if (failed) throw system_error(failed.value(), "creating it", live_dir.parent_path());
  std::string unfinished = live_dir.native() + "-XXXXXX";
  if (::mkdtemp(unfinished.data()) == nullptr) throw system_error(errno, "creating it", live_dir);
  try {
    const Descriptor made = open_descriptor(unfinished, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!made) throw system_error(errno, "opening it", unfinished);
    take_over_rights(made.get(), unfinished, directory);
    if (::rename(unfinished.c_str(), live_dir.c_str()) != 0) throw system_error(errno, "rename", unfinished);
  } catch (const Error&) {
    ::rmdir(unfinished.c_str());
    throw;
  }
}

}  // namespace

void LiveDirectory::make_and_hold(const std::filesystem::path& live_dir, const Trust& trust) {
  while (!hold(live_dir, trust)) make_live_directory(live_dir, trust.directory);
}

void LiveDirectory::release() noexcept {
  // Explicitly: a child that was made without fork()'s handlers shares the open file.
  if (file_) ::flock(file_.get(), LOCK_UN);
  file_.reset();
}

bool LiveDirectory::hold(const std::filesystem::path& live_dir, const Trust& trust) {
  for (;;) {
    release();
    if (!file_.open(live_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)) {
      if (errno == ENOENT) return false;
      if (errno != ENOTDIR && errno != ELOOP) throw system_error(errno, "opening it", live_dir);
      throw error_at(ErrorCode::no_permission, live_dir,
                     "is not a directory, which the store's shared memory needs; remove it");
    }
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) throw system_error(errno, "fstat", live_dir);
    if (!trusts(trust, status)) {
      throw error_at(ErrorCode::no_permission, live_dir,
                     "belongs to user {}, neither to the store's owner nor to root; remove it, or insist with "
                     "allow_foreign_owner",
                     status.st_uid);
    }
    while (::flock(file_.get(), LOCK_SH) != 0) {
      if (errno != EINTR) throw system_error(errno, "locking it", live_dir);
    }
    // It may have been taken for left over before it was locked.
    if (names(live_dir, file_.get())) return true;
  }
}

bool is_trusted(const std::filesystem::path& live_dir, const LiveDirectory::Trust& trust) {
  struct stat status {};
  if (::lstat(live_dir.c_str(), &status) == 0) return S_ISDIR(status.st_mode) && trusts(trust, status);
  // What may only not be seen now is not given up: marks may lie in it.
  if (errno != ENOENT && errno != ENOTDIR) throw system_error(errno, "looking at it", live_dir);
  return false;  // What appears under that name from now on was made by others.
}

void LiveDirectory::note_store(const std::filesystem::path& live_dir, const std::filesystem::path& directory) {
  const Note note = Note::of(directory);
  const std::filesystem::path path = live_dir / kNote;
  if (Note::read(path) == note) return;
  // Others read it under an exclusive lock only. One that was written in part ends without its zero byte.
  ::unlink(path.c_str());
  const Descriptor file = open_descriptor(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0660);
  if (file) give_to_owner_of_directory(file.get(), path);
  const std::string text = note.text();
  if (file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return;
  ::unlink(path.c_str());
}

void remove_live_directory(const std::filesystem::path& live_dir) noexcept {
  ::unlink((live_dir / kNote).c_str());
  ::rmdir(live_dir.c_str());  // What is not empty is not only the store's, and stays.
}

void remove_left_over(const std::filesystem::path& tmpfs, const Uuid& boot_id) {
  std::error_code failed;
  std::vector<std::filesystem::path> found;
  for (std::filesystem::directory_iterator at(tmpfs, failed), end; !failed && at != end; at.increment(failed)) {
    if (store_file_id_in(at->path().filename().string())) found.push_back(at->path());
  }
  for (const auto& live_dir : found) {
    try {
      remove_if_left_over(live_dir, boot_id);
    } catch (const Error&) {
      // What cannot be looked at is not known to be left over.
    }
  }
}

}  // namespace oncelog::internal
