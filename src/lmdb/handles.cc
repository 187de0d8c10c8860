#include "lmdb/handles.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace oncelog::internal::lmdb {

namespace {

constexpr unsigned kMostAttempts = 4;  // At beginning a transaction, when what made it fail was mended.

/// Keeps a transaction, a few hundred bytes, forever: LMDB would free its reader slot with it.
void keep_abandoned(MDB_txn* txn) {
  struct Abandoned {
    std::mutex mutex;
    std::vector<MDB_txn*> all;
  };
  static auto* const abandoned = new Abandoned;  // Never destroyed: reachable to the end.
  const std::lock_guard guard(abandoned->mutex);
  abandoned->all.push_back(txn);
}

/// Free bytes of a file system that is as good as full.
constexpr std::uint64_t kLittleRoom = std::uint64_t{1} << 20;

/// LMDB reports EIO when a full disk cuts a write short, and ENOSPC only when nothing was written. A full disk, unlike
/// a broken one, has no room for one more page at the end of data.mdb, or next to none on the file system: ext4 may cut
/// a write of many pages short and have room for one right after.
bool no_room(const Env& env) {
  mdb_filehandle_t file = -1;
  struct stat status {};
  if (mdb_env_get_fd(env.get(), &file) != MDB_SUCCESS || ::fstat(file, &status) != 0) return false;
  const auto page = static_cast<off_t>(env.page_bytes());
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      static_cast<rlim_t>(status.st_size + page) > limit.rlim_cur) {
    return true;
  }
  struct statvfs filesystem {};
  if (::fstatvfs(file, &filesystem) == 0 && filesystem.f_bavail * filesystem.f_frsize < kLittleRoom) return true;
  // For a quota. Keeps the size: at worst a page is allocated that the next commit writes to.
  return ::fallocate(file, FALLOC_FL_KEEP_SIZE, status.st_size, page) != 0 &&
         (errno == ENOSPC || errno == EDQUOT || errno == EFBIG);
}

}  // namespace

void Txn::begin(unsigned flags) {
  for (unsigned attempt = 1;; ++attempt) {
    env_.pin();
    const std::uint64_t life = env_.life();
    const int code = mdb_txn_begin(env_.get(), nullptr, flags, &txn_);
    if (code == MDB_SUCCESS) {
      pins_ = true;
      return;
    }
    env_.unpin();
    if (attempt == kMostAttempts) env_.check(code, "mdb_txn_begin");
    env_.recover(code, life, "mdb_txn_begin");
  }
}

Txn::~Txn() {
  if (!pins_ || env_.is_of_parent()) return;
  if (txn_ != nullptr) mdb_txn_abort(txn_);
  let_go();
}

void Txn::let_go() {
  env_.unpin();
  pins_ = false;
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
  if (const auto table = find_table(name, flags)) return *table;
  throw error_at(ErrorCode::not_a_store, env_.path(), "its LMDB file has no table \"{}\" of oncelog's", name);
}

std::optional<MDB_dbi> Txn::find_table(const char* name, unsigned flags) {
  MDB_dbi dbi = 0;
  const int code = mdb_dbi_open(txn_, name, flags, &dbi);
  if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE) return std::nullopt;
  env_.check(code, "mdb_dbi_open");
  opened_.push_back({name, flags & ~unsigned{MDB_CREATE}, dbi});
  return dbi;
}

void Txn::keep_tables() {
  const int code = mdb_txn_commit(txn_);
  txn_ = nullptr;  // Freed by the call whatever it returns.
  let_go();
  env_.check(code, "mdb_txn_commit");
  env_.note_tables(opened_);
}

MDB_stat Txn::stat(MDB_dbi dbi) const {
  MDB_stat stat{};
  env_.check(mdb_stat(txn_, dbi, &stat), "mdb_stat");
  return stat;
}

std::uint64_t Txn::pages(MDB_dbi dbi) const {
  const MDB_stat all = stat(dbi);
  return all.ms_branch_pages + all.ms_leaf_pages + all.ms_overflow_pages;
}

FreeList::Pages FreeList::pages(std::optional<std::uint64_t> oldest_snapshot, std::uint64_t run) {
  constexpr std::uint64_t kEntriesAPage = 60;  // LMDB looks into so many for each page of a run, then extends the file.
  const ReadTxn::Active active(txn_);
  const std::uint64_t newest = mdb_txn_id(txn_.get());
  const std::uint64_t oldest = std::min(newest, oldest_snapshot.value_or(newest));
  Pages pages;
  std::vector<std::uint64_t> numbers;
  std::uint64_t entries = 0;
  MDB_cursor* const cursor = txn_.cursor();
  for (auto entry = seek(txn_.env(), cursor, MDB_FIRST); entry; entry = seek(txn_.env(), cursor, MDB_NEXT)) {
    if (entry->value.size() < sizeof(std::uint64_t)) continue;
    std::vector<std::uint64_t> words(run > 1 ? entry->value.size() / sizeof(std::uint64_t) : 1);
    std::memcpy(words.data(), entry->value.data(), words.size() * sizeof words[0]);
    pages.all += words[0];
    if (entry->key >= oldest) continue;
    pages.usable += words[0];
    if (++entries <= kEntriesAPage * run) numbers.insert(numbers.end(), words.begin() + 1, words.end());
  }
  std::ranges::sort(numbers);
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    ++length;
    if (i + 1 != numbers.size() && numbers[i + 1] == numbers[i] + 1) continue;
    pages.in_runs += length / run * run;
    length = 0;
  }
  return pages;
}

WriteTxn::WriteTxn(const Env& env) : Txn(env) {
  env.prepare_to_write();
  begin(0);
  env.mend_meta(*this);
}

void WriteTxn::commit() {
  if (!env_.has_its_file()) {
    throw error_at(ErrorCode::io, env_.path(),
                   "data.mdb was deleted or replaced while the store is open, and what is written to it now "
                   "would be lost; close the store in every process, and restore data.mdb from a backup");
  }
  int code = mdb_txn_commit(txn_);
  txn_ = nullptr;  // Freed by the call whatever it returns.
  if (code == EIO && no_room(env_)) code = ENOSPC;
  if (code == MDB_SUCCESS) {
    env_.assert_alive();
    let_go();
    env_.note_tables(opened_);
    return;
  }
  let_go();
  if (code > 0) {
    try {
      // The environment may be given up now. It is opened again, and mended, while the caller still keeps other
      // processes from writing.
      const WriteTxn mended(env_);
    } catch (const Error&) {
      // Then the next transaction does it, or says why it cannot.
    }
  }
  if (code == EIO) {
    throw error_at(ErrorCode::io, env_.path(),
                   "writing to data.mdb failed: {}. Nothing of this commit is kept, and nothing that was "
                   "acknowledged is lost; marks that wait for the disk are tried again",
                   mdb_strerror(code));
  }
  env_.check(code, "mdb_txn_commit");
}

ReadTxn::ReadTxn(const Env& env, MDB_dbi dbi) : Txn(env), dbi_(dbi) {
  {
    const Env::Lock lock(env.mutex_);
    env.readers_.push_back(this);
  }
  try {
    make();
  } catch (const Error&) {
    const Env::Lock lock(env.mutex_);
    std::erase(env.readers_, this);
    throw;
  }
}

ReadTxn::~ReadTxn() {
  if (env_.is_of_parent()) return;
  // Under the mutex: nobody closes the environment meanwhile.
  const Env::Lock lock(env_.mutex_);
  std::erase(env_.readers_, this);
  drop();
}

/// Begins the transaction, and parks it.
void ReadTxn::make() {
  Txn fresh(env_, MDB_RDONLY);
  MDB_cursor* cursor = nullptr;
  env_.check(mdb_cursor_open(fresh.get(), dbi_, &cursor), "mdb_cursor_open");
  mdb_txn_reset(fresh.get());
  // Under the mutex, and before the pin is released: a thread that quiesces finds a transaction of the environment's
  // present life.
  const Env::Lock lock(env_.mutex_);
  txn_ = fresh.release();
  cursor_ = cursor;
  life_ = env_.life();
}

/// Ends the parked transaction, if there is one. A slot that was lost may be another process's by now, and LMDB would
/// free it: then the transaction is left as it is.
void ReadTxn::drop() {
  if (txn_ == nullptr) return;
  if (mdb_txn_renew(txn_) == MDB_BAD_RSLOT) {
    forsake();
    return;
  }
  mdb_cursor_close(cursor_);
  mdb_txn_abort(txn_);
  cursor_ = nullptr;
  txn_ = nullptr;
}

/// Leaves the parked transaction as it is, where LMDB must not look at its slot or has no map to look at.
void ReadTxn::forsake() {
  if (txn_ == nullptr) return;
  mdb_cursor_close(cursor_);
  keep_abandoned(txn_);
  cursor_ = nullptr;
  txn_ = nullptr;
}

void ReadTxn::renew_cursor() const {
  mdb_cursor_renew(txn_, cursor_);  // Fails for transactions of other kinds only.
  cursor_renewed_ = true;
}

void ReadTxn::deactivate() {
  // Release: pairs with the load in Env::is_quiet.
  active_.store(false, std::memory_order_release);
  env_.wake_quiescer();
}

void ReadTxn::renew() {
  // Sequentially consistent, with the load that follows; pairs with Env::is_quiet.
  active_.store(true, std::memory_order_seq_cst);
  if (env_.may_read() && life_ == env_.life()) [[likely]] {
    cursor_renewed_ = false;
    if (mdb_txn_renew(txn_) == MDB_SUCCESS) [[likely]]
      return;
  }
  deactivate();
  renew_slowly();
}

void ReadTxn::renew_slowly() {
  for (unsigned attempt = 1;; ++attempt) {
    env_.await_reading();
    active_.store(true, std::memory_order_seq_cst);
    // A thread that holds another pin need not wait: the environment stays as it is until that is gone.
    bool inside = env_.may_read();
    if (!inside) {
      const Env::Lock lock(env_.mutex_);
      inside = env_.holds_pin();
    }
    if (!inside) {
      deactivate();
      continue;
    }
    const std::uint64_t life = env_.life();
    int code = MDB_BAD_RSLOT;
    if (txn_ != nullptr && life_ == life) {
      cursor_renewed_ = false;
      code = mdb_txn_renew(txn_);
      if (code == MDB_SUCCESS) return;
    }
    deactivate();
    if (attempt == kMostAttempts) env_.check(code, "mdb_txn_renew");
    if (code != MDB_BAD_RSLOT) {
      env_.recover(code, life, "mdb_txn_renew");
      continue;
    }
    // It was ended when the environment was closed, or its slot is lost: another process has taken this one for dead.
    env_.assert_alive();
    {
      const Env::Lock lock(env_.mutex_);
      drop();
    }
    make();
  }
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
    throw error_at(ErrorCode::corrupt, env.path(), "an entry of data.mdb has a key of {} bytes", key_val.mv_size);
  }
  std::memcpy(&key, key_val.mv_data, sizeof key);
  return Entry{key, to_bytes(value)};
}

}  // namespace oncelog::internal::lmdb
