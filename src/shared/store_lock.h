#pragma once

#include <atomic>
#include <filesystem>

#include "shared/shared_state.h"

namespace oncelog::internal {

/// Holds the store's mutex for a scope. What the mutex guards is consistent at every instruction, except for the lease
/// table: what an owner that died with the mutex left there is mended here, before the new owner reads it. Costs the
/// mutex and one load while nobody has died.
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
  /// A member of its own, so that the mutex is released if mending fails.
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

  /// Rethrows the Error that is being handled, with the path of the mutex's file.
  [[noreturn]] static void rethrow_at(const std::filesystem::path& path);

  SharedHeader& header_;
  const Hold hold_;
};

}  // namespace oncelog::internal
