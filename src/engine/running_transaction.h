#pragma once

namespace oncelog::internal {

class OpenedStore;

/// Notes that this thread is in a transaction of a store, for as long as it lives. One store's transaction may be
/// within another's.
class RunningTransaction {
 public:
  explicit RunningTransaction(const OpenedStore& store) : store_(store), outer_(innermost_) { innermost_ = this; }
  RunningTransaction(const RunningTransaction&) = delete;
  RunningTransaction& operator=(const RunningTransaction&) = delete;
  ~RunningTransaction() { innermost_ = outer_; }

  /// Whether the calling thread is in one of that store.
  static bool in(const OpenedStore& store);

 private:
  const OpenedStore& store_;
  const RunningTransaction* const outer_;
  static thread_local const RunningTransaction* innermost_;
};

}  // namespace oncelog::internal
