#pragma once

#include <lmdb.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <oncelog/error.h>

#include "base/descriptors.h"
#include "lmdb/address_space.h"
#include "lmdb/lock_file.h"

namespace oncelog::internal::lmdb {

class ReadTxn;
class WriteTxn;

/// LMDB's environment, which may be closed and opened again, or mapped at another size, while its users keep working.
///
/// LMDB gives an environment up for good after one failed write of its meta page (MDB_PANIC), wants it mapped again
/// when another process has made the file larger than the map (MDB_MAP_RESIZED), and must never be open twice in one
/// process. So everything that uses it pins it: a transaction from its beginning to its end, a parked ReadTxn while it
/// is active. A thread that has to change it quiesces it: new pins wait, pins that are held are waited for, for a
/// bounded time, and the change is made when none is left. A thread that holds a pin gets further ones at once, so no
/// thread waits for itself. ReadTxns find by the environment's life number that their transaction is of an earlier
/// life, and begin it again; tables keep their handles.
///
/// Thread safety: all of it. Cost: a pin of a transaction is a mutex, one of a parked ReadTxn two stores to a cache
/// line of its own and a load of one that is never written.
class Env {
 public:
  static constexpr std::uint64_t kFirstReserve = std::uint64_t{16} << 30;

  /// `flags` are mdb_env_open's. The directory exists; data.mdb and lock.mdb are created in it. data.mdb can grow to
  /// `map_bytes`; address space is reserved for `first_reserve` bytes or four times the file, and for more when it has
  /// grown to half of that.
  Env(const std::filesystem::path& directory, unsigned flags, std::uint64_t map_bytes, unsigned max_readers,
      unsigned max_dbs, std::uint64_t first_reserve = kFirstReserve);
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  ~Env();

  /// LMDB's handle, for as long as the caller holds a transaction, or while nobody else uses the environment.
  MDB_env* get() const { return env_; }
  const std::filesystem::path& path() const { return path_; }
  std::size_t page_bytes() const { return page_bytes_; }

  /// Throws unless `code` is MDB_SUCCESS.
  void check(int code, const char* call) const {
    if (code != MDB_SUCCESS) [[unlikely]]
      fail(code, call);
  }

  /// Frees the reader slots of processes that died, and locks this process's byte of lock.mdb again.
  void reader_check() const;

  /// The oldest commit that a transaction of any process reads; nothing when none reads. Takes no lock.
  std::optional<std::uint64_t> oldest_snapshot() const;

  /// Bytes of data.mdb up to its last used page.
  std::uint64_t used_bytes() const;

  /// Bytes of address space that data.mdb has now.
  std::uint64_t reserved_bytes() const;

  /// Extends a data.mdb that ends before its last used page, so that reading there is no SIGBUS; returns whether it
  /// did. The caller holds the write lock. Error::corrupt when a page that is missing is in use.
  bool complete_file() const;

  /// Whether data.mdb is still in its directory, and not deleted or replaced since it was opened. Two system calls.
  bool has_its_file() const;

  /// How often the environment was opened. Only read to be compared: relaxed, ordered by `quiescing_`.
  std::uint64_t life() const { return life_.load(std::memory_order_relaxed); }

  /// How often data.mdb was mapped: addresses in it are those of one mapping. For a thread that holds a pin; only read
  /// to be compared: relaxed, ordered as life().
  std::uint64_t mapping() const { return mapping_.load(std::memory_order_relaxed); }

  /// It was opened by a process of which this one is a child: nothing of it may be touched.
  bool is_of_parent() const;

 private:
  friend class Txn;
  friend class ReadTxn;
  friend class WriteTxn;

  using Lock = std::unique_lock<std::mutex>;
  using Clock = std::chrono::steady_clock;

  /// A table whose handle is kept.
  struct Table {
    std::string name;
    unsigned flags;
    MDB_dbi dbi;
  };

  [[noreturn]] void fail(int code, const char* call) const;

  // --- Pins
  void pin() const;
  void unpin() const;
  /// Waits until nobody quiesces, unless the calling thread holds a pin; opens the environment again where it is
  /// closed.
  void await_open(Lock& lock) const;
  bool holds_pin() const;
  bool is_quiet() const;
  /// Runs `change` when there are no pins; false when `patience` ran out before.
  bool quiesce(Lock& lock, std::chrono::milliseconds patience, const std::function<void()>& change) const;
  /// A parked transaction's pin, after it was set.
  bool may_read() const { return !quiescing_.load(std::memory_order_seq_cst); }
  void await_reading() const;
  void wake_quiescer() const;

  // --- What is done when LMDB says that it cannot continue as it is
  /// Mends what made a beginning fail, in the life it failed in; throws what cannot be mended.
  void recover(int code, std::uint64_t life, const char* call) const;
  void reopen(Lock& lock) const;
  void open_again() const;
  void close() const;
  MDB_env* open() const;
  void open_tables(MDB_env* env) const;
  void check_same_files() const;
  void note_tables(std::vector<Table>& opened) const;

  // --- Room
  std::uint64_t used_locked() const;
  void prepare_to_write() const;
  bool map(std::uint64_t reserve) const;

  // --- Files
  /// LMDB's own descriptor of data.mdb: closing any other one would drop this process's locks.
  int data_file() const;
  /// After LMDB may have lost this process's locks on lock.mdb.
  void assert_alive() const {
    if (lock_file_) lock_file_.assert_alive();
  }
  void mend_meta(const WriteTxn& txn) const;

  const std::filesystem::path path_;
  const std::filesystem::path absolute_;  // The process may change its directory before it is opened again.
  const unsigned flags_;
  const unsigned max_readers_;
  const unsigned max_dbs_;
  const std::uint64_t process_;  // The process's fork generation.
  mutable std::size_t page_bytes_ = 0;
  Descriptor directory_;  // Empty with MDB_NOSUBDIR. Its path may be relative.
  LockFile lock_file_;    // Not opened with MDB_NOLOCK.
  FileId data_id_{};

  // Read by every look-up that reads the log, written when the environment changes.
  alignas(64) mutable std::atomic<bool> quiescing_{false};
  mutable std::atomic<std::uint64_t> life_{1};
  mutable std::atomic<std::uint64_t> mapping_{1};
  // Written while there are no pins, by the holder of the mutex.
  mutable MDB_env* env_ = nullptr;

  alignas(64) mutable std::mutex mutex_;  // Of all that follows.
  mutable std::condition_variable changed_;
  mutable std::vector<std::thread::id> pins_;  // The threads of all transactions but ReadTxns.
  mutable std::vector<ReadTxn*> readers_;
  mutable std::vector<Table> tables_;
  mutable AddressSpace space_;
  mutable std::optional<Error> down_;  // Why it could not be opened, or not be quiesced for that.
  mutable Clock::time_point next_try_{};

  mutable std::atomic<bool> meta_suspect_{false};  // Written and acted on by holders of LMDB's write lock. Relaxed.
};

}  // namespace oncelog::internal::lmdb
