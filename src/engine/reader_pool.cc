#include "engine/reader_pool.h"

#include <fmt/format.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/error.h"
#include "base/fork_generation.h"

namespace oncelog::internal {
namespace {

// The reader used last, which nearly always is the one wanted. Pools are told apart by a serial number: an address may
// be used again.
struct LastReader {
  std::uint64_t serial = 0;
  Reader* reader = nullptr;
};
thread_local constinit LastReader last_reader;

}  // namespace

// A thread's readers, by engine; given back when the thread ends.
//
// Destructors of static and thread_local objects may mark and end claims, so nothing here may be destroyed before them.
// The pointer to it needs no destructor; a key of pthread's, whose destructors run after those of all thread_locals,
// deletes what it points to. A key's destructor that comes later still and uses a store makes another one, for which
// pthread calls its own destructor in the next round. The main thread's ends with the process.
struct ThreadReaders {
  struct Entry {
    std::weak_ptr<ReaderPool> pool;
    const ReaderPool* address;
    Reader* reader;
    std::uint64_t process;  // Its fork generation.
  };

  ~ThreadReaders() {
    for (const Entry& entry : entries) {
      // In the child of a fork the pool is the parent's, and its mutex may be held for ever by a thread that is not
      // here.
      if (entry.process != fork_generation()) continue;
      if (const auto pool = entry.pool.lock()) pool->give_back(*entry.reader);
    }
  }

  Reader& of(ReaderPool& pool) {
    std::erase_if(entries, [](const Entry& entry) { return entry.pool.expired(); });
    for (const Entry& entry : entries) {
      if (entry.address == &pool) return *entry.reader;
    }
    entries.reserve(entries.size() + 1);  // What is lent must be noted.
    Reader& reader = pool.lend();
    entries.push_back({pool.weak_from_this(), &pool, &reader, fork_generation()});
    return reader;
  }

  std::vector<Entry> entries;
};

namespace {

thread_local constinit ThreadReaders* thread_readers = nullptr;

// The key by which threads give their readers back: pthread's, or one of these.
constexpr std::int64_t kNotMade = -1;
constexpr std::int64_t kDeleted = -2;
constinit std::atomic<std::int64_t> readers_key{kNotMade};

/// Deletes the key along with the library's static objects: it must not call code that has been unloaded, and at the
/// end of the process nobody needs the readers back.
struct DeleteKey {
  DeleteKey() = default;
  DeleteKey(const DeleteKey&) = delete;
  DeleteKey& operator=(const DeleteKey&) = delete;
  ~DeleteKey() {
    // Acquire: pairs with the release in make_readers_key.
    const std::int64_t key = readers_key.exchange(kDeleted, std::memory_order_acquire);
    if (key >= 0) pthread_key_delete(static_cast<pthread_key_t>(key));
  }
};
[[maybe_unused]] DeleteKey delete_key;

/// Before the first reader is lent. Without a lock, which a fork could leave locked in the child.
void make_readers_key() {
  if (readers_key.load(std::memory_order_relaxed) != kNotMade) return;  // Relaxed: read again where it is used.
  pthread_key_t made{};
  const int error_number = pthread_key_create(&made, [](void* readers) {
    last_reader = {};
    thread_readers = nullptr;
    delete static_cast<ThreadReaders*>(readers);
  });
  if (error_number != 0) {
    throw Error(ErrorCode::io,
                fmt::format("the process has no key for thread-specific data left that oncelog needs one of: {}",
                            std::strerror(error_number)));
  }
  std::int64_t expected = kNotMade;
  // Release: pairs with the acquires of those that use the key.
  if (!readers_key.compare_exchange_strong(expected, made, std::memory_order_release, std::memory_order_relaxed)) {
    pthread_key_delete(made);  // Another thread was faster.
  }
}

ThreadReaders& readers_of_this_thread() {
  if (thread_readers == nullptr) {
    auto made = std::make_unique<ThreadReaders>();
    // Acquire: pairs with the release in make_readers_key.
    const std::int64_t key = readers_key.load(std::memory_order_acquire);
    // The other failure is of a key that was deleted just now.
    if (key >= 0 && pthread_setspecific(static_cast<pthread_key_t>(key), made.get()) == ENOMEM) throw std::bad_alloc();
    thread_readers = made.release();
  }
  return *thread_readers;
}

}  // namespace

ReaderPool::ReaderPool(const lmdb::Env& env, const Log& log, const SharedHeader& live, Ring ring, ViewCache& views)
    : env_(env), log_(log), live_(live), ring_(ring), views_(views) {
  make_readers_key();
}

Reader& ReaderPool::mine() {
  if (last_reader.serial == serial_) [[likely]]
    return *last_reader.reader;
  Reader& reader = readers_of_this_thread().of(*this);
  last_reader = {serial_, &reader};
  return reader;
}

std::uint64_t ReaderPool::next_serial() {
  static std::atomic<std::uint64_t> serial{0};
  return serial.fetch_add(1, std::memory_order_relaxed) + 1;  // Relaxed: only has to be unique.
}

Reader& ReaderPool::lend() {
  const std::lock_guard guard(mutex_);
  if (!idle_.empty()) {
    Reader& reader = *idle_.back();
    idle_.pop_back();
    return reader;
  }
  return *all_.emplace_back(std::make_unique<Reader>(env_, log_, directory_, live_, ring_, views_));
}

void ReaderPool::give_back(Reader& reader) {
  const std::lock_guard guard(mutex_);
  if (all_.empty()) return;  // Closed.
  reader.drop_view();
  idle_.push_back(&reader);
}

void ReaderPool::close() {
  const std::lock_guard guard(mutex_);
  idle_.clear();
  all_.clear();
}

}  // namespace oncelog::internal
