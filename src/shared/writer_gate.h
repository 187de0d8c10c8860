#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>

#include "base/shared_memory.h"
#include "shared/shared_state.h"

namespace oncelog::internal {

/// Held by whoever begins a write transaction, so that nobody ever waits for LMDB's own lock, which cannot be waited
/// for with a time limit and so could lose a wake-up for good (see RobustMutex::lock). Comes before LMDB's lock, guards
/// nothing itself.
///
/// A thread that holds one store's gate, in a transaction, may ask for another's. Two that do so in opposite order
/// would wait for each other for ever, in one process or two: such a wait ends after nested_patience with a
/// LockTimeout.
class WriterGate {
 public:
  /// What a wait within another store's transaction may last; tests shorten it.
  static inline constinit std::atomic<std::chrono::milliseconds> nested_patience{std::chrono::milliseconds{10'000}};

  /// `path` names the store in errors, and lives as long as the gate. Throws LockTimeout.
  WriterGate(SharedHeader& live, const std::filesystem::path& path);
  WriterGate(const WriterGate&) = delete;
  WriterGate& operator=(const WriterGate&) = delete;
  ~WriterGate();

  /// For other waits that may be for a gate's holder: calls wait(deadline), which returns whether it came to its end;
  /// LockTimeout otherwise.
  template <typename Wait>
  static void bounded(const std::filesystem::path& path, Wait wait) {
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
