#include "lmdb_handles.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "lmdb_pages.h"
#include "shared_memory.h"

namespace oncelog::internal::lmdb {

namespace {

/// LMDB calls it EIO when a full disk cuts a write short (only a write of nothing is ENOSPC). Whether there is no room
/// for one more page at the end of data.mdb tells that from a broken disk.
bool no_room_for_a_page(const Env& env) {
  mdb_filehandle_t file = -1;
  struct stat status {};
  if (mdb_env_get_fd(env.get(), &file) != MDB_SUCCESS || ::fstat(file, &status) != 0) return false;
  const auto page = static_cast<off_t>(env.page_bytes());
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      static_cast<rlim_t>(status.st_size + page) > limit.rlim_cur) {
    return true;
  }
  // Keeps the size: at worst a page is allocated that the next commit writes to.
  return ::fallocate(file, FALLOC_FL_KEEP_SIZE, status.st_size, page) != 0 &&
         (errno == ENOSPC || errno == EDQUOT || errno == EFBIG);
}

}  // namespace

Error make_error(int code, const char* call, const std::filesystem::path& path) {
  const char* reason = mdb_strerror(code);
  switch (code) {
    case MDB_MAP_FULL:
      return Error(
          ErrorCode::full,
          fmt::format("{}: data.mdb has filled its map; open the store with a larger map_bytes", path.string()), path);
    case MDB_MAP_RESIZED:
      return Error(
          ErrorCode::full,
          fmt::format("{}: data.mdb has outgrown this process's map_bytes; open the store with the same as others",
                      path.string()),
          path);
    case MDB_READERS_FULL:
      return Error(
          ErrorCode::too_many_readers,
          fmt::format("{}: more threads read at once than max_readers; open the store with more", path.string()), path);
    case MDB_INVALID:
      return Error(ErrorCode::not_a_store,
                   fmt::format("{}: data.mdb is not an LMDB file of this format", path.string()), path);
    case MDB_VERSION_MISMATCH:
      return Error(ErrorCode::newer_format,
                   fmt::format("{}: data.mdb has another LMDB version's format", path.string()), path);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
      return Error(ErrorCode::corrupt, fmt::format("{}: data.mdb is damaged ({}: {})", path.string(), call, reason),
                   path);
    default:
      if (code > 0) return system_error(code, call, path);
      return Error(ErrorCode::io, fmt::format("{}: {} failed: {}", path.string(), call, reason), path);
  }
}

Env::Env(const std::filesystem::path& directory, unsigned flags, std::uint64_t map_bytes, unsigned max_readers,
         unsigned max_dbs)
    : path_(directory) {
  if ((flags & MDB_NOSUBDIR) == 0) {
    directory_ = open_descriptor(directory, O_PATH | O_DIRECTORY);
    if (!directory_) throw system_error(errno, "opening it", directory);
  }
  check(mdb_env_create(&env_), "mdb_env_create");
  try {
    check(mdb_env_set_mapsize(env_, map_bytes), "mdb_env_set_mapsize");
    check(mdb_env_set_maxreaders(env_, max_readers), "mdb_env_set_maxreaders");
    check(mdb_env_set_maxdbs(env_, max_dbs), "mdb_env_set_maxdbs");
    const int code = [&] {
      const StandardStreamsTaken taken;
      return mdb_env_open(env_, directory.c_str(), flags, 0660);
    }();
    // LMDB's other descriptors are close-on-exec already; the read-write one it leaves to be inherited.
    mdb_filehandle_t file = -1;
    if (code == MDB_SUCCESS && mdb_env_get_fd(env_, &file) == MDB_SUCCESS) close_on_exec(file);
    if (code == ENOMEM) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format(
              "{}: the system refuses {} bytes of address space for data.mdb; open the store with a smaller map_bytes",
              path_.string(), map_bytes),
          path_);
    }
    check(code, "mdb_env_open");
    MDB_stat stat{};
    check(mdb_env_stat(env_, &stat), "mdb_env_stat");
    page_bytes_ = stat.ms_psize;
  } catch (const Error&) {
    mdb_env_close(env_);
    throw;
  }
}

Env::~Env() {
  if (env_ != nullptr) mdb_env_close(env_);
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
  int dead = 0;
  check(mdb_reader_check(env_, &dead), "mdb_reader_check");
}

std::uint64_t Env::used_bytes() const {
  MDB_envinfo info{};
  check(mdb_env_info(env_, &info), "mdb_env_info");
  return (std::uint64_t{info.me_last_pgno} + 1) * page_bytes_;
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
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: data.mdb is cut short: {} of {} bytes are there, and what is missing is in use; restore "
                            "it from a backup",
                            path_.string(), size, used),
                path_);
  }
  if (::ftruncate(file, static_cast<off_t>(used)) != 0) throw system_error(errno, "extending data.mdb", path_);
  return true;
}

Txn::Txn(const Env& env, unsigned flags) : env_(env) {
  env.check(mdb_txn_begin(env.get(), nullptr, flags, &txn_), "mdb_txn_begin");
}

Txn::~Txn() {
  if (txn_ != nullptr) mdb_txn_abort(txn_);
}

std::optional<Bytes> Txn::get(MDB_dbi dbi, MDB_val key) const {
  MDB_val value{};
  const int code = mdb_get(txn_, dbi, &key, &value);
  if (code == MDB_NOTFOUND) return std::nullopt;
  env_.check(code, "mdb_get");
  return to_bytes(value);
}

void Txn::put(MDB_dbi dbi, MDB_val key, Bytes value, unsigned flags) {
  MDB_val val = to_val(value);
  env_.check(mdb_put(txn_, dbi, &key, &val, flags), "mdb_put");
}

std::span<std::byte> Txn::reserve(MDB_dbi dbi, MDB_val key, std::size_t size, unsigned flags) {
  MDB_val val{size, nullptr};
  env_.check(mdb_put(txn_, dbi, &key, &val, flags | MDB_RESERVE), "mdb_put");
  return {static_cast<std::byte*>(val.mv_data), size};
}

bool Txn::del(MDB_dbi dbi, MDB_val key) {
  const int code = mdb_del(txn_, dbi, &key, nullptr);
  if (code == MDB_NOTFOUND) return false;
  env_.check(code, "mdb_del");
  return true;
}

MDB_dbi Txn::open_table(const char* name, unsigned flags) {
  MDB_dbi dbi = 0;
  const int code = mdb_dbi_open(txn_, name, flags, &dbi);
  if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE) {
    throw Error(ErrorCode::not_a_store,
                fmt::format("{}: its LMDB file has no table \"{}\" of oncelog's", env_.path().string(), name),
                env_.path());
  }
  env_.check(code, "mdb_dbi_open");
  return dbi;
}

void Txn::keep_tables() {
  const int code = mdb_txn_commit(txn_);
  txn_ = nullptr;  // Freed by the call whatever it returns.
  env_.check(code, "mdb_txn_commit");
}

MDB_stat Txn::stat(MDB_dbi dbi) const {
  MDB_stat stat{};
  env_.check(mdb_stat(txn_, dbi, &stat), "mdb_stat");
  return stat;
}

void WriteTxn::commit() {
  if (!env_.has_its_file()) {
    throw Error(ErrorCode::io,
                fmt::format("{}: data.mdb was deleted or replaced while the store is open, and what is written to it now "
                            "would be lost; close the store in every process, and restore data.mdb from a backup",
                            env_.path().string()),
                env_.path());
  }
  int code = mdb_txn_commit(txn_);
  txn_ = nullptr;  // Freed by the call whatever it returns.
  if (code == EIO && no_room_for_a_page(env_)) code = ENOSPC;
  env_.check(code, "mdb_txn_commit");
}

ReadTxn::ReadTxn(const Env& env, MDB_dbi dbi) : Txn(env, MDB_RDONLY) {
  // A constructor that throws runs no destructor of its own class, but Txn's: the transaction is aborted.
  env.check(mdb_cursor_open(txn_, dbi, &cursor_), "mdb_cursor_open");
  park();
}

ReadTxn::~ReadTxn() {
  mdb_cursor_close(cursor_);
}

void ReadTxn::renew() {
  env_.check(mdb_txn_renew(txn_), "mdb_txn_renew");
  env_.check(mdb_cursor_renew(txn_, cursor_), "mdb_cursor_renew");
}

Cursor::Cursor(const Txn& txn, MDB_dbi dbi) : env_(txn.env()) {
  env_.check(mdb_cursor_open(txn.get(), dbi, &cursor_), "mdb_cursor_open");
}

Cursor::~Cursor() {
  mdb_cursor_close(cursor_);
}

void Cursor::del() {
  env_.check(mdb_cursor_del(cursor_, 0), "mdb_cursor_del");
}

std::optional<Entry> seek(const Env& env, MDB_cursor* cursor, MDB_cursor_op operation, std::uint64_t key) {
  MDB_val key_val{sizeof key, &key};
  MDB_val value{};
  const int code = mdb_cursor_get(cursor, &key_val, &value, operation);
  if (code == MDB_NOTFOUND) return std::nullopt;
  env.check(code, "mdb_cursor_get");
  if (key_val.mv_size != sizeof key) {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: an entry of data.mdb has a key of {} bytes", env.path().string(), key_val.mv_size),
                env.path());
  }
  std::memcpy(&key, key_val.mv_data, sizeof key);
  return Entry{key, to_bytes(value)};
}

}  // namespace oncelog::internal::lmdb
