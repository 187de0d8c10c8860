#pragma once

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/clock.h"
#include "base/host.h"
#include "base/shared_memory.h"
#include "log/record_codec.h"
#include "log/ring.h"
#include "shared/leases.h"
#include "shared/tally.h"
#include "window/derived_file.h"
#include "window/layout.h"

namespace oncelog::internal {

/// The counters of all processes together. Relaxed throughout: they order nothing.
struct HostCounters {
  // Written under the store's mutex, so that a plain load and store suffice (add).
  std::atomic<std::uint64_t> records;
  std::atomic<std::uint64_t> dead_owners;
  std::atomic<std::uint64_t> expired_buckets;
  std::atomic<std::uint64_t> early_drops;  // Those of them that a size cap dropped before their time.
  std::atomic<std::uint64_t> damages;      // How often the shared memory was rebuilt because it was damaged.
  std::atomic<std::uint64_t> takeovers;    // Claims and locks taken over after a death or an expired lease.
  // Written after a flush, without a lock.
  alignas(64) std::atomic<std::uint64_t> flushes;
  std::atomic<std::uint64_t> flushed_bytes;
  std::atomic<std::uint64_t> last_flush_us;
  std::atomic<std::uint64_t> longest_flush_us;
  std::atomic<std::int64_t> last_flush_at_us;  // Monotonic clock.
  std::atomic<std::uint64_t> transactions;     // Committed.
  HostHistogram flush_us;
  HostHistogram flush_bytes;

  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t n) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

/// The LSNs of the one transaction whose records may be accepted and not settled; `begin` is 0 when there is none.
/// Written by the holder of the writer gate, `end` before `begin`, and read by any thread. See uncommitted.h.
struct alignas(64) PendingTransaction {
  std::atomic<std::uint64_t> begin;
  std::atomic<std::uint64_t> end;
};

/// The beginning of the file `live`. The lease table, the ring and the stamp's copy follow it.
struct SharedHeader {
  FileStamp stamp;
  // Written before `ready`, and never changed after.
  std::uint64_t ring_start;        // The LSN at which this ring began.
  std::uint64_t planned_ids;       // Per bucket, from Options::expected_ids.
  std::uint32_t max_claims;        // The lease table's capacity.
  std::uint32_t settled_checksum;  // Over these three.
  // 1 when every derived file is complete. Released by the process that made them, acquired by those that open them.
  std::atomic<std::uint32_t> ready;
  std::atomic<std::uint64_t> pid_namespace;  // Of the processes that use the store. Under the open lock.
  // Records below were on disk when the first of the store's present users opened it, and are read from there: the ring
  // may have been damaged while nobody used it. Written under the open lock by a process that is alone, before anybody
  // reads the ring; never above `flushed`. Relaxed: the open lock orders it.
  std::atomic<std::uint64_t> believed_from;
  // The cap in force, 0 for none: a copy of the number in the table `meta`, for all processes at once. Read by each
  // mark. Written under the writer gate, or under the open lock by a process that is alone. Relaxed: a number that
  // orders nothing.
  std::atomic<std::uint64_t> max_bytes;

  ClockAnchor clock;  // Read by each mark, written seldom.

  alignas(64) RobustMutex mutex;
  alignas(64) RobustMutex writer_gate;
  Watermarks marks;
  LayoutCell layout;
  PendingTransaction pending;
  LeaseHeader leases;
  // Nothing that was processed at or after this time has been dropped with a bucket. Written under the mutex. Released
  // by the process that drops a bucket, acquired by those that ask.
  alignas(64) std::atomic<std::int64_t> known_since_us;
  // Boot clock: until then a known_since_us that lies in the future is believed, see Upkeep::settle_clock. Under the
  // mutex, relaxed.
  std::atomic<std::int64_t> known_settles_at_us;
  // Pages of the longest record so far: under a cap a transaction finds room for one as long. A hint. Under the writer
  // gate, relaxed.
  std::atomic<std::uint64_t> longest_run;
  alignas(64) std::atomic<std::uint32_t> flush_count;  // Futex: moves after each flush, successful or not.
  alignas(64) HostCounters counters;
  alignas(64) HostTally tally;

  std::uint32_t expected_settled_checksum() const {
    constexpr std::size_t begin = offsetof(SharedHeader, ring_start);
    const auto* const bytes = reinterpret_cast<const std::byte*>(this);
    return static_cast<std::uint32_t>(XXH3_64bits(bytes + begin, offsetof(SharedHeader, settled_checksum) - begin));
  }
};
static_assert(std::is_standard_layout_v<SharedHeader>);

/// The file `live`: the store's shared memory. Maps it, and checks it before anything in it is believed. The stamp is
/// stored twice, at both ends, so that damage to one of them does not hide which file it is and where its ring lies.
class SharedState {
 public:
  static constexpr std::size_t kHeaderBytes = (sizeof(SharedHeader) + 4095) / 4096 * 4096;
  /// A build that knows other flags of records would not see all of them.
  static constexpr std::uint64_t kShape =
      std::uint64_t{kKnownFlags} << 56 | std::uint64_t{sizeof(SharedHeader)} << 32 | sizeof(Layout);
  static constexpr std::uint64_t kMinRingBytes = std::uint64_t{64} << 10;
  static constexpr std::uint64_t kMaxRingBytes = std::uint64_t{1} << 30;
  static constexpr std::uint64_t kMinMaxBytes = std::uint64_t{1} << 20;
  static_assert(kMinRingBytes >= 16 * kMaxPlainRecordBytes &&
                kMinRingBytes / Ring::kReserveShare >= kMaxRecordPrefixBytes);
  static_assert(kMinMaxBytes / Ring::kCapShare >= kMinRingBytes);
  static constexpr Lsn kFirstLsn{kRecordUnit};  // Where a store's stream begins: 0 stands for no record.
  /// How long after a boot a known_since_us that lies in the future is believed: the clock may not be set yet.
  static constexpr std::int64_t kClockSetWithinUs = std::int64_t{3600} * 1'000'000;
  /// What Options allow, and so what may be read from a file.
  static bool valid_ring_bytes(std::uint64_t bytes) {
    return std::has_single_bit(bytes) && bytes >= kMinRingBytes && bytes <= kMaxRingBytes;
  }
  static bool valid_max_claims(std::uint64_t claims) { return claims != 0 && claims <= LeaseTable::kMaxCapacity; }
  static bool valid_max_bytes(std::uint64_t bytes) { return bytes == 0 || bytes >= kMinMaxBytes; }

  /// The lease table's size, rounded up so that the ring begins on a page of its own.
  static std::size_t lease_bytes(std::uint32_t max_claims) {
    return (LeaseTable::bytes_for(max_claims) + 4095) / 4096 * 4096;
  }

  static constexpr std::size_t kTrailerBytes = 4096;  // Ends with the stamp's copy.
  static std::size_t file_bytes(std::uint64_t max_claims, std::uint64_t ring_bytes) {
    return kHeaderBytes + lease_bytes(static_cast<std::uint32_t>(max_claims)) + ring_bytes + kTrailerBytes;
  }

  struct Birth {
    Uuid boot_id;
    Uuid store_file_id;
    std::int64_t clock_offset_us;
    Lsn start;
    std::uint64_t planned_ids;
    std::uint64_t ring_bytes;
    std::uint32_t max_claims;
    std::uint64_t max_bytes = 0;
    std::int64_t known_since_us;
    std::int64_t known_settles_at_us = 0;
  };

  /// Makes a new file, which is not ready yet. The caller holds the open lock and is the store's only process.
  static SharedState create(const std::filesystem::path& path, const Birth& birth);

  /// Opens the file; nothing when there is none, or when it is not of this boot, store file and format, complete and
  /// consistent.
  static std::optional<SharedState> open(const std::filesystem::path& path, const Uuid& boot_id,
                                         const Uuid& store_file_id);

  /// The same for a file whose header may be damaged: only one of the two stamps has to be right. For the only process
  /// that uses it, to save what is in the ring.
  static std::optional<SharedState> open_damaged(const std::filesystem::path& path, const Uuid& boot_id,
                                                 const Uuid& store_file_id);

  /// The file's path, for errors.
  const std::filesystem::path& path() const { return path_; }
  /// Renames the file, replacing any other file of that name.
  void rename(const std::filesystem::path& path);

  SharedHeader& header() const { return *reinterpret_cast<SharedHeader*>(file_.data()); }
  /// A view that refers to path(): must not be used after this object has been moved or destroyed.
  LeaseTable leases() const;
  Ring ring() const;
  /// For the only process that uses it: repairs the mutexes, if damage would keep them locked for ever, and a damaged
  /// stamp from its copy.
  void mend() const;
  /// For shared memory that is being replaced: gives the ring's space back to the file system, after everything in it
  /// is saved.
  void give_back_ring() { file_.give_back(ring_offset()); }

  /// The stamp of a filter or index file of this life.
  FileStamp stamp_for(FileKind kind, std::uint64_t number, std::uint64_t part, std::uint64_t extent,
                      std::uint64_t file_bytes) const;

 private:
  SharedState(MappedFile file, const FileStamp& stamp, std::filesystem::path path)
      : file_(std::move(file)), stamp_(stamp), path_(std::move(path)) {}
  static std::byte* stamp_copy(const MappedFile& file) { return file.data() + (file.size() - sizeof(FileStamp)); }
  std::size_t ring_offset() const { return file_.size() - kTrailerBytes - stamp_.extent; }
  bool consistent() const;

  MappedFile file_;
  FileStamp stamp_;
  std::filesystem::path path_;
};

}  // namespace oncelog::internal
