#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>

#include "base/shared_memory.h"
#include "base/store_locks.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Held around every write transaction, except by a process that is alone while it opens the store, so that no thread
/// ever waits for LMDB's own lock: that wait would have no time limit, and a lost wake-up would last for ever (see
/// RobustMutex::lock). Comes before LMDB's lock in the lock order. Its holder alone commits; `flushed` may still be
/// raised, to what was committed before, by a thread that has just released it.
///
/// A thread that holds one store's gate, in a transaction, may ask for another store's. Two threads that do so in
/// opposite order, in one process or in two, would wait for each other for ever: such a wait ends after nested_patience
/// with a LockTimeout.
class SCOPED_CAPABILITY WriterGate {
 public:
  /// How long a wait within another store's transaction may last. Tests shorten it.
  static inline constinit std::atomic<std::chrono::milliseconds> nested_patience{std::chrono::milliseconds{10'000}};

  /// `path` names the store in errors, and lives as long as the gate. Throws LockTimeout, and Error::corrupt when the
  /// gate is damaged.
  WriterGate(SharedHeader& live, const std::filesystem::path& path) ACQUIRE(kWriterGate)
      EXCLUDES(kStoreMutex) NO_THREAD_SAFETY_ANALYSIS;
  WriterGate(const WriterGate&) = delete;
  WriterGate& operator=(const WriterGate&) = delete;
  ~WriterGate() RELEASE();

  /// For other waits that may depend on a gate's holder: calls wait(deadline). Throws LockTimeout if that returns
  /// false, which it does when it gives up at the deadline.
  template <typename Wait>
  static void bounded(const std::filesystem::path& path, Wait wait) EXCLUDES(kStoreMutex) {
    const LockLimit limit(nested_limit());
    if (!wait(LockLimit::deadline())) throw timeout(path);
  }

 private:
  static std::chrono::microseconds nested_limit();
  static LockTimeout timeout(const std::filesystem::path& path);

  SharedHeader& live_;
  const std::filesystem::path& path_;
  const WriterGate* const outer_;
  static thread_local const WriterGate* innermost_;
};

}  // namespace oncelog::internal
