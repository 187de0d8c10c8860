#pragma once

#include "base/thread_annotations.h"

namespace oncelog::internal {

/// The locks of a store by name, for annotations: they say which lock a function needs, whatever object takes it. One
/// name stands for the locks of all stores. Nothing at run time; a constant of this type guards nothing by itself.
struct CAPABILITY("lock") LockName {};

/// Held by a StoreLock. The last one to be taken: nothing is waited for under it.
inline constexpr LockName kStoreMutex;
/// Held by a WriterGate. Comes before LMDB's write lock and the store's mutex.
inline constexpr LockName kWriterGate;

/// Says that the lock is held from here to the end of the function, for callers that hold it where the analysis cannot
/// see it. Checks nothing.
inline void assume_held(const LockName& lock) ASSERT_CAPABILITY(lock) {
  (void)lock;
}

}  // namespace oncelog::internal
