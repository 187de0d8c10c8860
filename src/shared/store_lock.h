#pragma once

#include <atomic>
#include <filesystem>

#include "shared/shared_state.h"

namespace oncelog::internal {

/// Holds the store's mutex for a scope. What the mutex guards is consistent at every instruction, but for the lease
/// table: what an owner that died with the mutex left there is mended here, before the new owner reads it. The cost
/// while nobody died is that of the mutex and of one load.
class StoreLock {
 public:
  /// Throws LockTimeout, and Error::corrupt when the mutex or the lease table is damaged.
  explicit StoreLock(const SharedState& state) : header_(state.header()), hold_(state) {
    // Relaxed: written under the mutex.
    if (header_.leases.suspect.load(std::memory_order_relaxed) != 0) [[unlikely]]
      state.leases().mend_if_suspect(head());
  }

  /// Where the records end. Relaxed: written only under this mutex.
  Lsn head() const { return Lsn{header_.marks.head.load(std::memory_order_relaxed)}; }

 private:
  /// Releases the mutex also when mending fails.
  class Hold {
   public:
    explicit Hold(const SharedState& state) : header_(state.header()) {
      if (!lock(state)) return;
      header_.leases.suspect.store(1, std::memory_order_relaxed);  // Relaxed: under the mutex.
      HostCounters::add(header_.counters.dead_owners, 1);
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() { header_.mutex.unlock(); }

   private:
    static bool lock(const SharedState& state) {
      try {
        return state.header().mutex.lock();
      } catch (const Error&) {
        rethrow_at(state.path());
      }
    }

    SharedHeader& header_;
  };

  /// Throws the mutex's Error that is being handled, with the path of the file that it is in.
  [[noreturn]] static void rethrow_at(const std::filesystem::path& path);

  SharedHeader& header_;
  const Hold hold_;
};

}  // namespace oncelog::internal
