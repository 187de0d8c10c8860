#include "lmdb/env.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string_view>

#include "base/error.h"
#include "base/fork_generation.h"
#include "lmdb/data_file_mending.h"
#include "lmdb/handles.h"
#include "lmdb/lmdb_error.h"

namespace oncelog::internal::lmdb {
namespace {

using std::chrono::milliseconds;

/// How long a change waits for transactions of this process to end. Look-ups end within microseconds; what takes longer
/// is a user's function, and others must not stand still for it.
constexpr milliseconds kPatience{1000};
/// How long after a change that could not be made it is tried again, so that not every call waits for it.
constexpr milliseconds kRetryInterval{100};
/// A parked transaction that ends while it is waited for wakes the waiter, except in the instant before it can see it.
constexpr milliseconds kLookInterval{1};

}  // namespace

Env::Env(const std::filesystem::path& directory, unsigned flags, std::uint64_t map_bytes, unsigned max_readers,
         unsigned max_dbs, std::uint64_t first_reserve)
    : path_(directory),
      absolute_(std::filesystem::absolute(directory)),
      flags_(flags),
      max_readers_(max_readers),
      max_dbs_(max_dbs),
      process_(fork_generation()),
      space_(map_bytes, first_reserve) {
  if ((flags & MDB_NOSUBDIR) == 0) {
    directory_ = open_descriptor(directory, O_PATH | O_DIRECTORY);
    if (!directory_) throw system_error(errno, "opening it", directory);
  }
  if ((flags & MDB_NOLOCK) == 0) lock_file_.open(path_ / "lock.mdb");
  try {
    struct stat status {};
    const bool there = directory_ && ::fstatat(directory_.get(), "data.mdb", &status, 0) == 0;
    space_.set(space_.wanted_for(there ? static_cast<std::uint64_t>(status.st_size) : 0));
    env_ = open();
    if (::fstat(data_file(), &status) != 0) throw system_error(errno, "fstat", path_);
    data_id_ = {status.st_dev, status.st_ino};
    if (lock_file_) lock_file_.hold();
  } catch (const Error&) {
    if (env_ != nullptr) mdb_env_close(env_);
    throw;
  }
}

Env::~Env() {
  if (is_of_parent()) return;
  if (env_ != nullptr) mdb_env_close(env_);
  if (lock_file_) lock_file_.release();
}

bool Env::is_of_parent() const {
  return process_ != fork_generation();
}

/// Opens LMDB. Nothing is left of what fails.
MDB_env* Env::open() const {
  MDB_env* env = nullptr;
  check(mdb_env_create(&env), "mdb_env_create");
  try {
    check(mdb_env_set_mapsize(env, space_.bytes()), "mdb_env_set_mapsize");
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
          space_.bytes());
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
  if (code == MDB_MAP_FULL && reserved_bytes() < space_.most()) {
    space_.note_full();
    throw error_at(ErrorCode::full, path_,
                   "one transaction needs more than the address space that data.mdb has at present; try "
                   "again: the next one has more");
  }
  throw make_error(code, call, path_);
}

int Env::data_file() const {
  mdb_filehandle_t file = -1;
  check(mdb_env_get_fd(env_, &file), "mdb_env_get_fd");
  return file;
}

bool Env::has_its_file() const {
  if (!directory_) return true;
  struct stat opened {};
  if (::fstat(data_file(), &opened) != 0) throw system_error(errno, "fstat", path_);
  if (opened.st_nlink == 0) return false;
  struct stat named {};
  if (::fstatat(directory_.get(), "data.mdb", &named, 0) != 0) return errno != ENOENT;  // Another error says nothing.
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
  return space_.bytes();
}

bool Env::complete_file() const {
  return lmdb::complete_file(data_file(), used_bytes(), path_);
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
  // A thread that holds a pin is itself waited for.
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
  // its pin is seen here. What it did before it released the pin is visible.
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
      env.quiescing_.store(false, std::memory_order_seq_cst);  // A thread that sees this sees the change.
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
  if (life != this->life()) return;  // Another thread has done it.
  if (code == MDB_PANIC) {
    reopen(lock);
    return;
  }
  const std::uint64_t used = used_locked();
  if (used > space_.most()) throw make_error(code, call, path_);
  if (used <= space_.bytes()) return;
  if (!quiesce(lock, kPatience, [&] { map(space_.wanted_for(used)); })) {
    throw error_at(ErrorCode::io, path_,
                   "another process has made data.mdb larger than it is mapped here, and it cannot be "
                   "mapped again while a transaction or a scan of this process is running; end that first");
  }
}

/// Closes the environment and opens it again. LMDB's own lock on lock.mdb is released in between, ours is not: so no
/// other process can take the reader table for abandoned.
void Env::reopen(Lock& lock) const {
  if (down_ && Clock::now() < next_try_) throw Error(*down_);
  const bool done = quiesce(lock, kPatience, [&] {
    close();
    open_again();
  });
  if (done) return;
  const Error waits = error_at(
      ErrorCode::io, path_,
      "a write of data.mdb failed, and it cannot be opened again while a transaction or a scan of this process is "
      "running; the next call tries again, and nothing that was acknowledged is lost");
  // A pin of this thread is in no other thread's way.
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
  mapping_.fetch_add(1, std::memory_order_relaxed);
  // Nobody knows what of the last meta page is on disk; see put_back_meta.
  meta_suspect_.store(true, std::memory_order_relaxed);
}

/// Opens what is closed; under the mutex, and without a pin.
void Env::open_again() const {
  if (down_ && Clock::now() < next_try_) throw Error(*down_);
  try {
    check_same_files();
    env_ = open();
    down_.reset();
  } catch (const Error& error) {
    down_.emplace(
        error.code(),
        fmt::format("{} (a write of data.mdb failed, and it could not be opened again; the next call tries again, "
                    "and nothing that was acknowledged is lost)",
                    error.what()),
        error.path());
    next_try_ = Clock::now() + kRetryInterval;
    throw Error(*down_);
  }
}

/// LMDB would create new files where the old ones were removed, while other processes still use the old ones.
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
  check_file(absolute_ / "lock.mdb", lock_file_.id());
}

void Env::mend_meta(const WriteTxn& txn) const {
  if (!meta_suspect_.load(std::memory_order_relaxed)) [[likely]]
    return;
  put_back_meta(data_file(), mdb_txn_id(txn.get()) - 1, page_bytes_, path_);
  meta_suspect_.store(false, std::memory_order_relaxed);
}

// --- Room

void Env::prepare_to_write() const {
  Lock lock(mutex_);
  await_open(lock);
  if (!space_.can_grow()) return;
  const auto growth = space_.growth(used_locked(), Clock::now());
  if (!growth) return;
  // Without it there may be room enough; if there is not, the transaction says so.
  bool mapped = false;
  quiesce(lock, growth->patience, [&] { mapped = map(growth->bytes); });
  mapped ? space_.grown() : space_.not_grown(*growth, Clock::now());
}

/// Maps data.mdb at another size; without a pin. Parked transactions stay: they look for the map when they are renewed.
/// False when the system has not that much address space.
bool Env::map(std::uint64_t reserve) const {
  // LMDB unmaps the file first. If it cannot map it again then, the environment is of no more use.
  if (reserve > space_.bytes()) {
    const std::uint64_t more = reserve - space_.bytes();
    void* const room = ::mmap(nullptr, more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return false;
    ::munmap(room, more);
  }
  mapping_.fetch_add(1, std::memory_order_relaxed);
  if (mdb_env_set_mapsize(env_, reserve) == MDB_SUCCESS) {
    space_.set(reserve);
    return true;
  }
  // The environment has no map now, which parked transactions would have to look at. Closing it frees their slots.
  for (ReadTxn* reader : readers_) reader->forsake();
  close();
  open_again();
  return false;
}

}  // namespace oncelog::internal::lmdb
