#include "lmdb/env.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/fork_generation.h"
#include "base/shared_memory.h"
#include "lmdb/handles.h"
#include "lmdb/pages.h"

namespace oncelog::internal::lmdb {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kGranule = std::uint64_t{64} << 10;  // A multiple of every page size.
/// How long a change waits for transactions of this process to end. Look-ups end within microseconds; what goes on for
/// longer is a user's function, and then others must not stand still for it.
constexpr milliseconds kPatience{1000};
/// The same for more room that is not yet wanted badly.
constexpr milliseconds kShortPatience{10};
/// Look-ups wait meanwhile. So after a wait for more room in vain the next one comes when so many times as long has
/// passed.
constexpr int kGrowthPause = 10;
/// How long after a change that could not be made it is tried again, so that not every call waits for it.
constexpr milliseconds kRetryInterval{100};
/// A parked transaction that ends while it is waited for wakes the waiter, except in the instant before it can see it.
constexpr milliseconds kLookInterval{1};

/// Bytes of lock.mdb that stand for something when they are locked: in use, and, by its number, a process that lives.
constexpr off_t kInUseByte = 0;

int set_lock(int file, int command, short type, off_t byte) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  while (::fcntl(file, command, &lock) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace

Error make_error(int code, const char* call, const std::filesystem::path& path) {
  const char* reason = mdb_strerror(code);
  switch (code) {
    case MDB_MAP_FULL:
      return error_at(ErrorCode::full, path, "data.mdb has filled its map; open the store with a larger map_bytes");
    case MDB_MAP_RESIZED:
      return error_at(ErrorCode::full, path,
                      "data.mdb has outgrown this process's map_bytes; open the store with the same as others");
    case MDB_READERS_FULL:
      return error_at(ErrorCode::too_many_readers, path,
                      "more threads read at once than max_readers; open the store with more");
    case MDB_INVALID:
      return error_at(ErrorCode::not_a_store, path, "data.mdb is not an LMDB file of this format");
    case MDB_VERSION_MISMATCH:
      return error_at(ErrorCode::newer_format, path, "data.mdb has another LMDB version's format");
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
      return error_at(ErrorCode::corrupt, path, "data.mdb is damaged ({}: {})", call, reason);
    case MDB_PANIC:
      return error_at(ErrorCode::io, path,
                      "LMDB refuses data.mdb after a write of it has failed ({}); nothing that was "
                      "acknowledged is lost, and it is opened again at the next call",
                      call);
    default:
      if (code > 0) return system_error(code, call, path);
      return error_at(ErrorCode::io, path, "{} failed: {}", call, reason);
  }
}

Env::Env(const std::filesystem::path& directory, unsigned flags, std::uint64_t map_bytes, unsigned max_readers,
         unsigned max_dbs, std::uint64_t first_reserve)
    : path_(directory),
      absolute_(std::filesystem::absolute(directory)),
      flags_(flags),
      map_bytes_(map_bytes),
      max_readers_(max_readers),
      max_dbs_(max_dbs),
      first_reserve_(first_reserve),
      process_(fork_generation()) {
  if ((flags & MDB_NOSUBDIR) == 0) {
    directory_ = open_descriptor(directory, O_PATH | O_DIRECTORY);
    if (!directory_) throw system_error(errno, "opening it", directory);
  }
  if ((flags & MDB_NOLOCK) == 0) open_lock_file();
  try {
    struct stat status {};
    const bool there = directory_ && ::fstatat(directory_.get(), "data.mdb", &status, 0) == 0;
    reserve_ = reserve_for(there ? static_cast<std::uint64_t>(status.st_size) : 0);
    env_ = open(reserve_);
    mdb_filehandle_t file = -1;
    check(mdb_env_get_fd(env_, &file), "mdb_env_get_fd");
    if (::fstat(file, &status) != 0) throw system_error(errno, "fstat", path_);
    data_id_ = {status.st_dev, status.st_ino};
    hold_lock_file();
  } catch (const Error&) {
    if (env_ != nullptr) mdb_env_close(env_);
    throw;
  }
}

Env::~Env() {
  if (is_of_parent()) return;
  if (env_ != nullptr) mdb_env_close(env_);
  // By name: a child that was made without fork()'s handlers shares the open file, and would keep the lock for as long
  // as it lives. And after LMDB has closed it: any closing drops this process's locks. A failure leaves it to the
  // close.
  if (lock_file_) set_lock(lock_file_.get(), F_OFD_SETLK, F_UNLCK, kInUseByte);
}

bool Env::is_of_parent() const {
  return process_ != fork_generation();
}

/// Opens LMDB, with that much address space. Nothing is left of what fails.
MDB_env* Env::open(std::uint64_t reserve) const {
  MDB_env* env = nullptr;
  check(mdb_env_create(&env), "mdb_env_create");
  try {
    check(mdb_env_set_mapsize(env, reserve), "mdb_env_set_mapsize");
    check(mdb_env_set_maxreaders(env, max_readers_), "mdb_env_set_maxreaders");
    check(mdb_env_set_maxdbs(env, max_dbs_), "mdb_env_set_maxdbs");
    const int code = [&] {
      const StandardStreamsTaken taken;
      return mdb_env_open(env, absolute_.c_str(), flags_, 0660);
    }();
    // LMDB's other descriptors are close-on-exec already; the read-write one it leaves to be inherited.
    mdb_filehandle_t file = -1;
    if (code == MDB_SUCCESS && mdb_env_get_fd(env, &file) == MDB_SUCCESS) close_on_exec(file);
    if (code == ENOMEM) {
      throw error_at(
          ErrorCode::unsupported, path_,
          "the system refuses {} bytes of address space for data.mdb; open the store with a smaller map_bytes",
          reserve);
    }
    check(code, "mdb_env_open");
    MDB_stat stat{};
    check(mdb_env_stat(env, &stat), "mdb_env_stat");
    page_bytes_ = stat.ms_psize;
    open_tables(env);
    return env;
  } catch (const Error&) {
    mdb_env_close(env);
    throw;
  }
}

/// Gives the tables that were open before their handles again.
void Env::open_tables(MDB_env* env) const {
  if (tables_.empty()) return;
  MDB_txn* txn = nullptr;
  check(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn), "mdb_txn_begin");
  for (const Table& table : tables_) {
    MDB_dbi dbi = 0;
    const int code = mdb_dbi_open(txn, table.name.c_str(), table.flags, &dbi);
    if (code == MDB_SUCCESS && dbi == table.dbi) continue;
    mdb_txn_abort(txn);
    check(code, "mdb_dbi_open");
    throw error_at(ErrorCode::io, path_,
                   "LMDB gives table \"{}\" another handle than before; close the store and open it again", table.name);
  }
  check(mdb_txn_commit(txn), "mdb_txn_commit");  // Which keeps the handles.
}

void Env::note_tables(std::vector<Table>& opened) const {
  if (opened.empty()) return;
  const Lock lock(mutex_);
  for (Table& table : opened) {
    if (std::ranges::find(tables_, table.dbi, &Table::dbi) == tables_.end()) tables_.push_back(std::move(table));
  }
  opened.clear();
}

void Env::fail(int code, const char* call) const {
  if (code == MDB_MAP_FULL && reserved_bytes() < map_bytes_) {
    map_was_full_.store(true, std::memory_order_relaxed);
    throw error_at(ErrorCode::full, path_,
                   "one transaction needs more than the address space that data.mdb has at present; try "
                   "again: the next one has more");
  }
  throw make_error(code, call, path_);
}

bool Env::has_its_file() const {
  if (!directory_) return true;
  mdb_filehandle_t file = -1;
  struct stat opened {};
  check(mdb_env_get_fd(env_, &file), "mdb_env_get_fd");
  if (::fstat(file, &opened) != 0) throw system_error(errno, "fstat", path_);
  if (opened.st_nlink == 0) return false;
  struct stat named {};
  if (::fstatat(directory_.get(), "data.mdb", &named, 0) != 0) return errno != ENOENT;  // Else nobody knows.
  return named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

void Env::reader_check() const {
  pin();
  int dead = 0;
  const int code = mdb_reader_check(env_, &dead);
  assert_alive();
  unpin();
  check(code, "mdb_reader_check");
}

std::optional<std::uint64_t> Env::oldest_snapshot() const {
  std::optional<std::uint64_t> oldest;
  // A line for each reader, a heading before them: process, thread, and the commit or "-".
  const auto line = [](const char* text, void* context) {
    const std::string_view words(text);
    const std::size_t last = words.find_last_of(' ') + 1;
    std::uint64_t commit = 0;
    if (std::from_chars(text + last, text + words.size(), commit).ec == std::errc{}) {
      auto& found = *static_cast<std::optional<std::uint64_t>*>(context);
      found = std::min(found.value_or(commit), commit);
    }
    return 0;
  };
  pin();
  mdb_reader_list(env_, line, &oldest);
  unpin();
  return oldest;
}

std::uint64_t Env::used_bytes() const {
  Lock lock(mutex_);
  await_open(lock);
  return used_locked();
}

std::uint64_t Env::used_locked() const {
  MDB_envinfo info{};
  check(mdb_env_info(env_, &info), "mdb_env_info");
  return (std::uint64_t{info.me_last_pgno} + 1) * page_bytes_;
}

std::uint64_t Env::reserved_bytes() const {
  const Lock lock(mutex_);
  return reserve_;
}

bool Env::complete_file() const {
  // By LMDB's own descriptor: closing any other one would drop this process's locks.
  mdb_filehandle_t file = -1;
  check(mdb_env_get_fd(env_, &file), "mdb_env_get_fd");
  struct stat status {};
  if (::fstat(file, &status) != 0) throw system_error(errno, "fstat", path_);
  const std::uint64_t used = used_bytes();
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size >= used) return false;
  const Pages pages(file, path_);
  const auto meta = pages.newest();
  if (!meta || !pages.lacks_only_free_pages(*meta)) {
    throw error_at(ErrorCode::corrupt, path_,
                   "data.mdb is cut short: {} of {} bytes are there, and what is missing is in use; restore "
                   "it from a backup",
                   size, used);
  }
  if (::ftruncate(file, static_cast<off_t>(used)) != 0) throw system_error(errno, "extending data.mdb", path_);
  return true;
}

// --- Pins

void Env::pin() const {
  Lock lock(mutex_);
  await_open(lock);
  pins_.push_back(std::this_thread::get_id());
}

void Env::unpin() const {
  const Lock lock(mutex_);
  pins_.erase(std::ranges::find(pins_, std::this_thread::get_id()));
  if (quiescing_.load(std::memory_order_relaxed)) changed_.notify_all();  // Relaxed: written under the mutex.
}

bool Env::holds_pin() const {
  return std::ranges::find(pins_, std::this_thread::get_id()) != pins_.end();
}

void Env::await_open(Lock& lock) const {
  // One that holds a pin is waited for itself.
  if (!holds_pin()) changed_.wait(lock, [&] { return !quiescing_.load(std::memory_order_relaxed); });
  if (env_ == nullptr) open_again();
}

void Env::await_reading() const {
  Lock lock(mutex_);
  if (!holds_pin()) changed_.wait(lock, [&] { return !quiescing_.load(std::memory_order_relaxed); });
}

void Env::wake_quiescer() const {
  // Relaxed: where it is not seen yet, the quiescer looks again by itself.
  if (quiescing_.load(std::memory_order_relaxed)) [[unlikely]] {
    const Lock lock(mutex_);
    changed_.notify_all();
  }
}

bool Env::is_quiet() const {
  // Sequentially consistent, as the flag before it and the pair in ReadTxn::renew: either the reader sees the flag, or
  // its pin is seen here. What it did before it let go of the pin is visible.
  return pins_.empty() && std::ranges::none_of(readers_, [](const ReadTxn* reader) {
           return reader->active_.load(std::memory_order_seq_cst);
         });
}

bool Env::quiesce(Lock& lock, milliseconds patience, const std::function<void()>& change) const {
  if (holds_pin()) return false;
  const auto limit = Clock::now() + patience;
  quiescing_.store(true, std::memory_order_seq_cst);
  struct End {
    const Env& env;
    ~End() {
      env.quiescing_.store(false, std::memory_order_seq_cst);  // What was changed is visible to who sees it.
      env.changed_.notify_all();
    }
  };
  const End end{*this};
  while (!is_quiet()) {
    const auto now = Clock::now();
    if (now >= limit) return false;
    changed_.wait_until(lock, std::min(limit, now + kLookInterval));
  }
  change();
  return true;
}

// --- Mending

void Env::recover(int code, std::uint64_t life, const char* call) const {
  if (code != MDB_PANIC && code != MDB_MAP_RESIZED) fail(code, call);
  Lock lock(mutex_);
  await_open(lock);
  if (life != this->life()) return;  // Somebody else has done it.
  if (code == MDB_PANIC) {
    reopen(lock);
    return;
  }
  const std::uint64_t used = used_locked();
  if (used > map_bytes_) throw make_error(code, call, path_);
  if (used <= reserve_) return;
  if (!quiesce(lock, kPatience, [&] { map(reserve_for(used)); })) {
    throw error_at(ErrorCode::io, path_,
                   "another process has made data.mdb larger than it is mapped here, and it cannot be "
                   "mapped again while a transaction or a scan of this process goes on; end that first");
  }
}

/// Closes the environment and opens it again. LMDB's own lock on lock.mdb is let go of in between, ours is not: so no
/// other process can take the reader table for abandoned.
void Env::reopen(Lock& lock) const {
  if (down_ && Clock::now() < next_try_) throw Error(*down_);
  const bool done = quiesce(lock, kPatience, [&] {
    close();
    open_again();
  });
  if (done) return;
  const Error waits(
      ErrorCode::io,
      fmt::format("{}: a write of data.mdb has failed, and it has to be opened again, which it cannot while "
                  "a transaction or a scan of this process goes on; it is tried again at the next call. "
                  "Nothing that was acknowledged is lost",
                  path_.string()),
      path_);
  // What stands in this thread's own way does not stand in others'.
  if (!holds_pin()) {
    down_.emplace(waits);
    next_try_ = Clock::now() + kRetryInterval;
  }
  throw Error(waits);
}

void Env::close() const {
  for (ReadTxn* reader : readers_) reader->drop();
  mdb_env_close(env_);
  env_ = nullptr;
  life_.fetch_add(1, std::memory_order_relaxed);
  // A meta page of which nobody knows what is on disk; see mend_meta.
  meta_suspect_.store(true, std::memory_order_relaxed);
}

/// Opens what is closed; under the mutex, and without a pin.
void Env::open_again() const {
  if (down_ && Clock::now() < next_try_) throw Error(*down_);
  try {
    check_same_files();
    env_ = open(reserve_);
    down_.reset();
  } catch (const Error& error) {
    down_.emplace(
        error.code(),
        fmt::format("{} (a write of data.mdb had failed, and it could not be opened again; it is tried again at "
                    "the next call, and nothing that was acknowledged is lost)",
                    error.what()),
        error.path());
    next_try_ = Clock::now() + kRetryInterval;
    throw Error(*down_);
  }
}

/// LMDB would make new files where the old ones were removed, and other processes go on with those.
void Env::check_same_files() const {
  const auto check_file = [&](const std::filesystem::path& file, FileId id) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) throw system_error(errno, "stat", file);
    if (FileId{status.st_dev, status.st_ino} == id) return;
    throw error_at(ErrorCode::in_use, file,
                   "was replaced while the store was open; close the store in every process, and open it "
                   "again");
  };
  check_file((flags_ & MDB_NOSUBDIR) != 0 ? absolute_ : absolute_ / "data.mdb", data_id_);
  if (!lock_file_) return;
  struct stat lock_status {};
  if (::fstat(lock_file_.get(), &lock_status) != 0) throw system_error(errno, "fstat", path_ / "lock.mdb");
  check_file(absolute_ / "lock.mdb", {lock_status.st_dev, lock_status.st_ino});
}

/// The write of a meta page has failed: the page cache may hold the old one or the new one, and the disk either. LMDB
/// goes on from the commit before, over pages of the one that failed; should the new meta page be on disk, a power
/// failure in the midst of that would leave a file that is damaged. So the old one is written and synced before
/// anything else.
void Env::mend_meta(const WriteTxn& txn) const {
  if (!meta_suspect_.load(std::memory_order_relaxed)) [[likely]]
    return;
  // A meta page: a header of 16 bytes, what never changes, and from the map's size on what a commit writes: that, two
  // trees, the last page, and the transaction.
  constexpr std::size_t kCommitBegin = Pages::kHeaderBytes + 16;
  constexpr std::size_t kTransaction = kCommitBegin + 8 + 2 * sizeof(TreeInfo) + 8;
  constexpr std::size_t kCommitEnd = kTransaction + 8;
  const std::uint64_t committed = mdb_txn_id(txn.get()) - 1;
  mdb_filehandle_t file = -1;
  check(mdb_env_get_fd(env_, &file), "mdb_env_get_fd");
  const auto at = static_cast<off_t>(((committed + 1) & 1) * page_bytes_);
  std::array<std::byte, kCommitEnd> page;
  if (::pread(file, page.data(), page.size(), at) != static_cast<ssize_t>(page.size())) {
    throw system_error(EIO, "reading a meta page of data.mdb", path_);
  }
  std::uint64_t transaction = 0;
  std::memcpy(&transaction, page.data() + kTransaction, sizeof transaction);
  if (transaction > committed) {
    transaction = committed == 0 ? 0 : committed - 1;
    std::memcpy(page.data() + kTransaction, &transaction, sizeof transaction);
  }
  const std::size_t bytes = kCommitEnd - kCommitBegin;
  const ssize_t written = ::pwrite(file, page.data() + kCommitBegin, bytes, at + static_cast<off_t>(kCommitBegin));
  if (written != static_cast<ssize_t>(bytes) || ::fdatasync(file) != 0) {
    throw system_error(written >= 0 && written != static_cast<ssize_t>(bytes) ? ENOSPC : errno,
                       "mending data.mdb after a write that failed", path_);
  }
  meta_suspect_.store(false, std::memory_order_relaxed);
}

// --- Room

std::uint64_t Env::rounded(std::uint64_t bytes) const {
  return (bytes + kGranule - 1) / kGranule * kGranule;
}

std::uint64_t Env::reserve_for(std::uint64_t used) const {
  return std::min(map_bytes_, std::max(first_reserve_, rounded(4 * used)));
}

/// Before a write transaction begins: it has room for half a reserve, or for all that map_bytes leaves.
void Env::prepare_to_write() const {
  Lock lock(mutex_);
  await_open(lock);
  if (reserve_ >= map_bytes_) return;
  const std::uint64_t used = used_locked();
  const bool was_full = map_was_full_.load(std::memory_order_relaxed);
  if (!was_full && used <= reserve_ / 2) return;
  const bool urgent = was_full || used > reserve_ - reserve_ / 8;
  const auto now = Clock::now();
  milliseconds patience{0};
  if (urgent && now >= next_urgent_growth_) {
    patience = kPatience;
  } else if (now >= next_growth_) {
    patience = kShortPatience;
  } else if (!urgent) {
    return;
  }
  const std::uint64_t wanted = std::min(map_bytes_, std::max(2 * reserve_, reserve_for(used)));
  // Where it cannot be had now there may be room enough; if not, the transaction says so.
  bool mapped = false;
  quiesce(lock, patience, [&] { mapped = map(wanted); });
  if (mapped) {
    map_was_full_.store(false, std::memory_order_relaxed);
  } else if (patience.count() != 0) {
    (patience == kPatience ? next_urgent_growth_ : next_growth_) = Clock::now() + kGrowthPause * patience;
  }
}

/// Maps data.mdb at another size; without a pin. Parked transactions stay: they look for the map when they are renewed.
/// False when the system has not that much address space.
bool Env::map(std::uint64_t reserve) const {
  // LMDB unmaps the file first, and where it cannot be mapped again it is at an end.
  if (reserve > reserve_) {
    void* const room =
        ::mmap(nullptr, reserve - reserve_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return false;
    ::munmap(room, reserve - reserve_);
  }
  if (mdb_env_set_mapsize(env_, reserve) == MDB_SUCCESS) {
    reserve_ = reserve;
    return true;
  }
  // It has no map now, at which a parked transaction would have to look. Closing frees their slots.
  for (ReadTxn* reader : readers_) reader->forsake();
  close();
  open_again();
  return false;
}

// --- Files

/// Before LMDB opens it, and closed after it: whatever closes a descriptor of it drops this process's locks.
void Env::open_lock_file() {
  const auto path = path_ / "lock.mdb";
  if (!lock_file_.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0660)) throw system_error(errno, "opening it", path);
}

void Env::hold_lock_file() const {
  if (!lock_file_) return;
  // LMDB has the same byte for this process, shared: so it can be had.
  const int error_number = set_lock(lock_file_.get(), F_OFD_SETLK, F_RDLCK, kInUseByte);
  if (error_number != 0) throw system_error(error_number, "locking it", path_ / "lock.mdb");
}

/// Locks the byte by which other processes see that this one lives, and keep its reader slots. LMDB has locked it, and
/// it is the process's: to lock it again changes nothing, or mends what a close has dropped. A failure is no worse than
/// that: a reader that loses its slot finds out, and takes another.
void Env::assert_alive() const {
  if (lock_file_) set_lock(lock_file_.get(), F_SETLK, F_WRLCK, static_cast<off_t>(::getpid()));
}

}  // namespace oncelog::internal::lmdb
