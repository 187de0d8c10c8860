#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/exported.h"
#include "engine/reader.h"

namespace oncelog::internal {

/// The readers of one store, one for each thread that ever used it; a thread that ends leaves its own to the next.
/// Thread-safe.
class ReaderPool : public std::enable_shared_from_this<ReaderPool> {
 public:
  ReaderPool(const lmdb::Env& env, const Log& log, const SharedHeader& live, Ring ring, ViewCache& views);

  /// The calling thread's reader. A few nanoseconds but the first time. Also for destructors of static and thread_local
  /// objects.
  ONCELOG_INTERNAL Reader& mine();

  /// Frees all readers, before the environment closes; the threads' later farewells find nothing.
  void close();

  /// Calls visit(counters) for every reader there ever was.
  template <typename Visit>
  void each_counters(Visit visit) {
    const std::lock_guard guard(mutex_);
    for (const auto& reader : all_) visit(reader->counters);
  }

 private:
  friend struct ThreadReaders;
  static std::uint64_t next_serial();
  Reader& lend();
  void give_back(Reader& reader);

  const std::uint64_t serial_ = next_serial();
  const lmdb::Env& env_;
  const Log& log_;
  BlockDirectory directory_;
  const SharedHeader& live_;
  const Ring ring_;
  ViewCache& views_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Reader>> all_;
  std::vector<Reader*> idle_;
};

}  // namespace oncelog::internal
