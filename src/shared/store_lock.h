#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "base/store_locks.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Holds the store's mutex for a scope. What the mutex guards is consistent at every instruction, except for the lease
/// table: what an owner that died with the mutex left there is mended here, before the new owner reads it. Costs the
/// mutex and one load while nobody has died.
class SCOPED_CAPABILITY StoreLock {
 public:
  /// Throws LockTimeout, and Error::corrupt when the mutex or the lease table is damaged.
  explicit StoreLock(const SharedState& state) ACQUIRE(kStoreMutex) NO_THREAD_SAFETY_ANALYSIS;
  StoreLock(const StoreLock&) = delete;
  StoreLock& operator=(const StoreLock&) = delete;
  ~StoreLock() RELEASE() = default;

  /// Between many short holds in a row: a mutex that is locked again at once leaves its waiters no chance to get it.
  static void give_way() EXCLUDES(kStoreMutex) { std::this_thread::sleep_for(std::chrono::microseconds{50}); }
  /// Whether somebody sleeps until it is released.
  bool awaited() const { return header_.mutex.awaited(); }

  /// Where the records end. Relaxed: written only under this mutex.
  Lsn head() const { return Lsn{header_.marks.head.load(std::memory_order_relaxed)}; }

 private:
  /// A member of its own, so that the mutex is released if mending fails.
  class SCOPED_CAPABILITY Hold {
   public:
    explicit Hold(const SharedState& state) ACQUIRE(state.header().mutex) : header_(state.header()) {
      if (!lock(state)) return;
      header_.leases.suspect.store(1, std::memory_order_relaxed);  // Relaxed: under the mutex.
      HostCounters::add(header_.counters.dead_owners, 1);
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() RELEASE() { header_.mutex.unlock(); }

   private:
    static bool lock(const SharedState& state) ACQUIRE(state.header().mutex) {
      try {
        return state.header().mutex.lock();
      } catch (const Error&) {
        rethrow_at(state.path());
      }
    }

    SharedHeader& header_;
  };

  /// Rethrows the Error that is being handled, with the path of the mutex's file.
  [[noreturn]] static void rethrow_at(const std::filesystem::path& path);

  SharedHeader& header_;
  const Hold hold_;
};

inline StoreLock::StoreLock(const SharedState& state) : header_(state.header()), hold_(state) {
  // Relaxed: written under the mutex.
  if (header_.leases.suspect.load(std::memory_order_relaxed) != 0) [[unlikely]]
    state.leases().mend_if_suspect(head());
}

}  // namespace oncelog::internal
