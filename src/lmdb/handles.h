#pragma once

#include <lmdb.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "lmdb/env.h"

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

/// One transaction; aborts unless committed. Pins the environment for as long as it lives.
class Txn {
 public:
  Txn(const Env& env, unsigned flags) : Txn(env) { begin(flags); }
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
  /// The handle is for the life of the environment once the transaction, a WriteTxn, is committed.
  MDB_dbi open_table(const char* name, unsigned flags);
  /// The same; nothing when there is no such table and it is not to be created.
  std::optional<MDB_dbi> find_table(const char* name, unsigned flags);
  MDB_stat stat(MDB_dbi dbi) const;
  /// The pages of a table: branches, leaves, and those of large values.
  std::uint64_t pages(MDB_dbi dbi) const;

  /// Ends a transaction that only reads, and keeps open the tables that it has opened. Otherwise they are closed with
  /// it.
  void keep_tables();

 protected:
  friend class ReadTxn;
  explicit Txn(const Env& env) : env_(env) {}
  void begin(unsigned flags);
  void let_go();
  /// Leaves the transaction to the caller, and keeps the pin.
  MDB_txn* release() { return std::exchange(txn_, nullptr); }

  const Env& env_;
  MDB_txn* txn_ = nullptr;
  bool pins_ = false;
  std::vector<Env::Table> opened_;
};

class WriteTxn : public Txn {
 public:
  /// Waits for LMDB's one write lock.
  explicit WriteTxn(const Env& env);
  /// Leaks it: a child of the process that began it must not end it.
  void abandon() { txn_ = nullptr; }
  /// Error::io, and nothing is written, when data.mdb was deleted or replaced: nobody could ever read what was written.
  /// Error::full also when LMDB reports a short write as EIO and the disk turns out to have no room. After an error the
  /// environment is ready for the next transaction, where that is possible.
  void commit();
};

/// A read transaction and a cursor in it. Parked (reset) it pins no page and keeps its reader slot, so that renewing it
/// takes no lock and 20 ns. Making one takes LMDB's reader lock, which cannot be waited for with a time limit and so
/// could lose a wake-up for good when a waiter is killed (see RobustMutex::lock): once for each thread, not for each
/// use. Parked it does not pin the environment either: when that was opened again, or the reader slot was lost, a new
/// transaction is begun at the next use.
class ReadTxn : public Txn {
 public:
  ReadTxn(const Env& env, MDB_dbi dbi);
  ~ReadTxn();

  /// In the snapshot of the Active that lives. Its first use in each costs a search in LMDB's main tree, for the root
  /// of the table's.
  MDB_cursor* cursor() const {
    if (!cursor_renewed_) [[unlikely]]
      renew_cursor();
    return cursor_;
  }

  /// While one of these lives the transaction sees the newest commit, and pins its pages and the environment. The same
  /// thread begins no other transaction meanwhile.
  class Active {
   public:
    explicit Active(ReadTxn& txn) : txn_(txn) { txn.renew(); }
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;
    ~Active() { txn_.park(); }

    /// Parks it, and begins again with the newest commit.
    void again() {
      txn_.park();
      txn_.renew();
    }

   private:
    ReadTxn& txn_;
  };

 private:
  friend class Env;

  void renew();
  void renew_slowly();
  void make();
  void drop();
  void forsake();
  void renew_cursor() const;
  void deactivate();
  void park() {
    if (!active_.load(std::memory_order_relaxed)) return;  // Own; renewing it failed, and has let go of it.
    mdb_txn_reset(txn_);
    deactivate();
  }

  const MDB_dbi dbi_;
  MDB_cursor* cursor_ = nullptr;
  mutable bool cursor_renewed_ = false;
  std::uint64_t life_ = 0;
  // The pin, written by the thread that uses the transaction, read by a thread that quiesces.
  alignas(64) std::atomic<bool> active_{false};
};

/// LMDB's own list of free pages. Reading it occupies a reader slot, which is kept, and reads a page for every five
/// hundred free ones.
class FreeList {
 public:
  explicit FreeList(const Env& env) : txn_(env, kTable) {}

  struct Pages {
    std::uint64_t all = 0;
    std::uint64_t usable = 0;   // By the next commit: no reader needs them. Not those that the newest one has freed.
    std::uint64_t in_runs = 0;  // Usable for values of so many pages in a row.
  };
  /// `oldest_snapshot` is Env::oldest_snapshot(). The caller keeps others from committing. `run` is 1 or more.
  Pages pages(std::optional<std::uint64_t> oldest_snapshot, std::uint64_t run);

 private:
  static constexpr MDB_dbi kTable = 0;  // A commit's number -> how many pages it has freed, and which.

  ReadTxn txn_;
};

/// A cursor in a write transaction, and destroyed before it.
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
