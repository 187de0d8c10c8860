#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/lease_admin.h"
#include "engine/opened_store.h"
#include "engine/owners.h"
#include "engine/reader.h"
#include "shared/store_lock.h"

namespace oncelog::internal {

/// Accepting a record: the protocol that every call follows which adds to the log.
///
///   1. Acceptor::glance: reads the head, then takes the view. Every record below that head is in the view.
///   2. The caller looks its ids up in that view, without a lock.
///   3. Hold: takes the store's mutex. Nothing else takes it for accepting.
///   4. The caller looks again at what is newer than the glance's head, prepares room, and appends.
///   5. The end of Hold releases the mutex, wakes the waiters for a lease that was freed, and rings the background's
///      bell.
///   6. Acceptor::meet: gets what the holder of the mutex found missing, without the mutex; then all begins again.
///
/// So nothing can come between the last look at an id and its record.

/// What stops the holder of the store's mutex: it releases the mutex, has Acceptor::meet provide this, and looks again.
enum class Need {
  none,
  newer_view,   // The layout has changed since the glance.
  flush,        // Room in the ring.
  bucket,       // A time bucket for the present.
  table,        // A larger index.
  settle,       // Whether a transaction that died committed.
  owner_check,  // Whether the owner of a lease lives, see Owners::asked.
  token_epoch,  // An epoch for fencing tokens.
  lease,        // A place in the lease table.
};

/// How many ids are decided under one hold of the mutex, and so how long others wait for it.
inline constexpr std::size_t kChunk = 64;

/// A look at the store that is no older than `head`: every record below it is in the view.
struct Glance {
  Lsn head;
  const View& view;
};

/// The end of an id's correlation chain.
struct ChainEnd {
  Probe probe;  // Its id is empty when there is no correlation.
  std::optional<Found> found;
};

class Hold;

/// Begins and serves holds of the store's mutex. Thread-safe.
class Acceptor {
 public:
  Acceptor(OpenedStore& store, LeaseAdmin& leases) : store_(store), lease_admin_(leases) {}

  /// The head before the view: pairs, as an acquire, with the release in Hold::append.
  Glance glance(Reader& reader) const {
    const Lsn head = store_.head();
    return {head, reader.view()};
  }

  /// Provides what a hold lacks. Throws Error when that is not possible: full, invalid_argument within a transaction,
  /// or what made a flush fail.
  void meet(Need need, Owners& owners) {
    if (need == Need::none || need == Need::newer_view) return;  // Those that a loop begins with again by itself.
    provide(need, owners);
  }

  /// Before a transaction, within which no epoch can be assigned.
  void require_token_epoch() {
    // Acquire: pairs with the release in LeaseAdmin::assign_token_epoch.
    if (store_.header().leases.token_epoch.load(std::memory_order_acquire) == 0) lease_admin_.assign_token_epoch();
  }

  OpenedStore& store() const { return store_; }

 private:
  void provide(Need need, Owners& owners);

  OpenedStore& store_;
  LeaseAdmin& lease_admin_;
};

/// The store's mutex, held to accept records. One thread; short: no system call but a lock's, no allocation in the hot
/// path.
class SCOPED_CAPABILITY Hold {
 public:
  /// What it takes in the ring: a transaction's marks, and one that is taken back, may use the reserve.
  enum class Room { common, reserve };

  /// Throws Error::corrupt when the shared memory is damaged.
  Hold(OpenedStore& store, Reader& reader, const Glance& glance) ACQUIRE(kStoreMutex);
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() RELEASE();

  /// newer_view when the glance's view is no longer the layout's: everything has to be looked up again.
  Need need() const { return outdated_ ? Need::newer_view : Need::none; }

  Lsn head() const { return lock_.head(); }
  /// Whether there are records that the glance does not cover, this hold's own included.
  bool moved() const { return head() != glance_.head; }
  /// The time of what is accepted now: the clock's at the beginning, never before the last record's.
  std::int64_t time_us() const;

  /// The newest record of the probe that the glance does not cover. `passed`, as in Reader::look_again, means to begin
  /// again.
  std::optional<Found> look_again(const Probe& probe, bool& passed, RecordCopy* copy = nullptr) {
    return reader_.look_again(glance_.view, probe, glance_.head, passed, copy);
  }

  /// Makes sure that so many records of so many bytes can be appended; changes the layout itself where all that it
  /// takes is ready.
  Need prepare(std::size_t bytes, std::uint64_t records = 1, Room room = Room::common);

  /// Accepts a record, after prepare() for it; returns its LSN. `chain` is null when it has no correlation.
  Lsn append(const RecordDraft& draft, const MessageHash& hash, const ChainEnd* chain);

  /// Wakes the threads that wait for a lease, once the mutex is released.
  void wake_waiters() { after_.wake = true; }

  OpenedStore& store() const { return store_; }

 private:
  /// What is done once the mutex is free.
  struct After {
    OpenedStore& store;
    bool wake = false;
    bool appended = false;
    bool bell = false;
    ~After();
  };

  Need prepare_ring(std::size_t bytes, Room room);
  Need prepare_bucket(std::int64_t time_us);
  Need prepare_hints(std::uint64_t records);
  template <typename Step>
  Need change_layout(Step step);
  bool wants_bell() const;
  [[noreturn]] void refuse_damaged_index() const;

  OpenedStore& store_;
  SharedHeader& header_;
  Reader& reader_;
  const Glance& glance_;
  Ring ring_;
  const std::int64_t now_us_;  // Read before the mutex is taken.
  After after_;                // Destroyed after the lock.
  const StoreLock lock_;
  const Lsn head_before_;
  const bool outdated_;
};

}  // namespace oncelog::internal
