#pragma once

#include <lmdb.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include <oncelog/error.h>

#include "descriptors.h"

namespace oncelog::internal::lmdb {

/// LMDB's handles as owners, with its names kept. A failed call is an oncelog::Error that names the call and the path;
/// the expected NOTFOUND is a value. What each type may be used for, and by which thread, is LMDB's: a write
/// transaction belongs to its thread, a read transaction (MDB_NOTLS) to one thread at a time.

using Bytes = std::span<const std::byte>;

inline MDB_val to_val(Bytes bytes) {
  return {bytes.size(), const_cast<std::byte*>(bytes.data())};
}
inline MDB_val to_val(const std::uint64_t& key) {
  return {sizeof key, const_cast<std::uint64_t*>(&key)};
}
inline Bytes to_bytes(const MDB_val& val) {
  return {static_cast<const std::byte*>(val.mv_data), val.mv_size};
}
inline Bytes to_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// MAP_FULL and ENOSPC become ErrorCode::full, READERS_FULL too_many_readers, damage corrupt, the rest io.
Error make_error(int code, const char* call, const std::filesystem::path& path);

class Env {
 public:
  /// `flags` are mdb_env_open's. The directory exists; data.mdb and lock.mdb are created in it.
  Env(const std::filesystem::path& directory, unsigned flags, std::uint64_t map_bytes, unsigned max_readers,
      unsigned max_dbs);
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  ~Env();

  MDB_env* get() const { return env_; }
  const std::filesystem::path& path() const { return path_; }
  std::size_t page_bytes() const { return page_bytes_; }

  /// Throws unless `code` is MDB_SUCCESS.
  void check(int code, const char* call) const {
    if (code != MDB_SUCCESS) throw make_error(code, call, path_);
  }

  /// Frees the reader slots of processes that died.
  void reader_check() const;

  /// Bytes of data.mdb up to its last used page.
  std::uint64_t used_bytes() const;

  /// Extends a data.mdb that ends before its last used page, with zeros, so that reading there is no SIGBUS; returns
  /// whether it did. The caller holds the write lock. LMDB never writes pages that one transaction takes and gives back,
  /// so a sound file may lack any number there, each of them in the free list; a file that lacks another page is
  /// Error::corrupt. Reads the free list, by descriptor, only when the file is short.
  bool complete_file() const;

  /// Whether data.mdb is still in its directory, and not deleted or replaced since it was opened. Two system calls.
  bool has_its_file() const;

  /// Leaks the environment: in a child of the process that opened it nothing may be closed.
  void abandon() { env_ = nullptr; }

 private:
  std::filesystem::path path_;
  Descriptor directory_;  // Empty with MDB_NOSUBDIR. Its path may be relative, and the process goes elsewhere.
  MDB_env* env_ = nullptr;
  std::size_t page_bytes_ = 0;
};

/// One transaction; aborts unless committed.
class Txn {
 public:
  Txn(const Env& env, unsigned flags);
  Txn(const Txn&) = delete;
  Txn& operator=(const Txn&) = delete;
  ~Txn();

  MDB_txn* get() const { return txn_; }
  const Env& env() const { return env_; }

  std::optional<Bytes> get(MDB_dbi dbi, MDB_val key) const;
  void put(MDB_dbi dbi, MDB_val key, Bytes value, unsigned flags = 0);
  /// Room for a value, to be filled before anything else is written.
  std::span<std::byte> reserve(MDB_dbi dbi, MDB_val key, std::size_t size, unsigned flags);
  bool del(MDB_dbi dbi, MDB_val key);
  MDB_dbi open_table(const char* name, unsigned flags);
  MDB_stat stat(MDB_dbi dbi) const;

  /// Ends a transaction that only reads; the tables that it has opened stay open, which else are closed with it.
  void keep_tables();

 protected:
  const Env& env_;
  MDB_txn* txn_ = nullptr;
};

class WriteTxn : public Txn {
 public:
  /// Waits for LMDB's one write lock.
  explicit WriteTxn(const Env& env) : Txn(env, 0) {}
  /// Leaks it: in a child of the process that began it nothing may be ended.
  void abandon() { txn_ = nullptr; }
  /// Error::io, and nothing is written, when data.mdb was deleted or replaced: nobody could ever read it. Error::full also
  /// when LMDB reports a short write as EIO and the disk turns out to have no room.
  void commit();
};

/// A read transaction and a cursor in it. Parked (reset) it pins no page and keeps its reader slot, so that renewing it
/// takes no lock and 20 ns. Making one takes LMDB's reader lock, which cannot be waited for with a time limit and so
/// could lose a wake-up for good when a waiter is killed (see RobustMutex::lock): once for each thread, not for each
/// use.
class ReadTxn : public Txn {
 public:
  ReadTxn(const Env& env, MDB_dbi dbi);
  ~ReadTxn();

  MDB_cursor* cursor() const { return cursor_; }

  /// While one of these lives the transaction sees the newest commit, and pins its pages.
  class Active {
   public:
    explicit Active(ReadTxn& txn) : txn_(txn) { txn.renew(); }
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;
    ~Active() { txn_.park(); }

   private:
    ReadTxn& txn_;
  };

 private:
  void renew();
  void park() { mdb_txn_reset(txn_); }

  MDB_cursor* cursor_ = nullptr;
};

/// A cursor in a write transaction; must go before it.
class Cursor {
 public:
  Cursor(const Txn& txn, MDB_dbi dbi);
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  ~Cursor();

  MDB_cursor* get() const { return cursor_; }
  void del();

 private:
  const Env& env_;
  MDB_cursor* cursor_ = nullptr;
};

/// An entry under a 64-bit key.
struct Entry {
  std::uint64_t key;
  Bytes value;
};

/// Moves the cursor by `operation`, from `key` where the operation takes one; nothing at the end.
std::optional<Entry> seek(const Env& env, MDB_cursor* cursor, MDB_cursor_op operation, std::uint64_t key = 0);

}  // namespace oncelog::internal::lmdb
