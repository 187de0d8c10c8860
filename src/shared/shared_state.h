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
#include "log/ring.h"
#include "shared/leases.h"
#include "shared/tally.h"
#include "window/derived_file.h"
#include "window/layout.h"

namespace oncelog::internal {

/// Counters of all processes. Relaxed throughout: they order nothing.
struct HostCounters {
  // Written under the store's mutex, so that plain load and store suffice (add).
  std::atomic<std::uint64_t> records;
  std::atomic<std::uint64_t> dead_owners;
  std::atomic<std::uint64_t> expired_buckets;
  std::atomic<std::uint64_t> early_drops;  // Of those, the ones that a size cap took before their time.
  std::atomic<std::uint64_t> damages;      // Times that this memory was made anew because the one before was damaged.
  std::atomic<std::uint64_t> takeovers;    // Claims and locks whose owner had died or whose lease was over.
  // Written after a flush, without a lock.
  alignas(64) std::atomic<std::uint64_t> flushes;
  std::atomic<std::uint64_t> flushed_bytes;
  std::atomic<std::uint64_t> last_flush_us;
  std::atomic<std::uint64_t> longest_flush_us;
  std::atomic<std::int64_t> last_flush_at_us;  // Boot clock.
  std::atomic<std::uint64_t> transactions;     // Committed.
  HostHistogram flush_us;
  HostHistogram flush_bytes;

  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t n) {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
};

/// The LSNs of the one transaction that may be between its records' acceptance and its commit; 0 and 0 when none is.
/// Written by who holds LMDB's write lock (and `end` before `begin` when it is announced), read by anyone. See
/// uncommitted.h.
struct alignas(64) PendingTransaction {
  std::atomic<std::uint64_t> begin;
  std::atomic<std::uint64_t> end;
};

/// What the file `live` begins with; the lease table, the ring and the stamp's copy follow.
struct SharedHeader {
  FileStamp stamp;
  // Written before `ready`, never changed after.
  std::uint64_t ring_start;        // The LSN at which this ring began.
  std::uint64_t planned_ids;       // Per bucket, from Options::expected_ids.
  std::uint32_t max_claims;        // What the lease table has room for.
  std::uint32_t settled_checksum;  // Of these three.
  // 1 when every derived file is complete. Release by the process that made them, acquire by those that open them.
  std::atomic<std::uint32_t> ready;
  std::atomic<std::uint64_t> pid_namespace;  // Of the processes that use it; under the store's open lock.
  // What is below was on disk when the first of those that use it now opened it, and is read from there: what lies in
  // the ring may have been damaged while nobody used it. Written by the only process under the open lock, before
  // anybody reads the ring; never above `flushed`. Relaxed: the open lock orders it.
  std::atomic<std::uint64_t> believed_from;
  // The cap in force, 0 for none: what the table `meta` says, for all processes at once. Read for each mark. Written
  // under the writer gate, or by the only process under the open lock. Relaxed: a number that orders nothing.
  std::atomic<std::uint64_t> max_bytes;

  ClockAnchor clock;  // Read for each mark, written seldom.

  alignas(64) RobustMutex mutex;
  alignas(64) RobustMutex writer_gate;
  Watermarks marks;
  LayoutCell layout;
  PendingTransaction pending;
  LeaseHeader leases;
  // Everything processed at or after this is remembered as far as Options::max_bytes is concerned. Written under the
  // mutex. Release by the process that drops a bucket, acquire by those that ask.
  alignas(64) std::atomic<std::int64_t> known_since_us;
  // Boot clock: a known_since_us that lies in the future is believed until then, see Upkeep::settle_known_since. Under
  // the mutex, relaxed.
  std::atomic<std::int64_t> known_settles_at_us;
  // Pages of the longest record so far, which a transaction under a cap finds room for; a hint. Under the writer gate,
  // relaxed.
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
/// in it twice, at both ends, so that damage to the one does not hide what file it is and where the ring lies in it.
class SharedState {
 public:
  static constexpr std::size_t kHeaderBytes = (sizeof(SharedHeader) + 4095) / 4096 * 4096;
  static constexpr std::uint64_t kShape = std::uint64_t{sizeof(SharedHeader)} << 32 | sizeof(Layout);
  static constexpr std::uint64_t kMinRingBytes = std::uint64_t{64} << 10;
  static constexpr std::uint64_t kMaxRingBytes = std::uint64_t{1} << 30;
  static constexpr std::uint64_t kMinMaxBytes = std::uint64_t{1} << 20;
  static_assert(kMinRingBytes >= 16 * kMaxPlainRecordBytes &&
                kMinRingBytes / Ring::kReserveShare >= kMaxRecordPrefixBytes);
  static_assert(kMinMaxBytes / Ring::kCapShare >= kMinRingBytes);
  static constexpr Lsn kFirstLsn{kRecordUnit};  // Where a store's stream begins: 0 stands for no record.
  /// How long after a boot a known_since_us that lies in the future is believed: the clock may not be set yet.
  static constexpr std::int64_t kClockSetWithinUs = std::int64_t{3600} * 1'000'000;
  /// What Options may say, and so what may be read from a file.
  static bool valid_ring_bytes(std::uint64_t bytes) {
    return std::has_single_bit(bytes) && bytes >= kMinRingBytes && bytes <= kMaxRingBytes;
  }
  static bool valid_max_claims(std::uint64_t claims) { return claims != 0 && claims <= LeaseTable::kMaxCapacity; }
  static bool valid_max_bytes(std::uint64_t bytes) { return bytes == 0 || bytes >= kMinMaxBytes; }

  /// The ring begins on a page of its own.
  static std::size_t lease_bytes(std::uint32_t max_claims) {
    return (LeaseTable::bytes_for(max_claims) + 4095) / 4096 * 4096;
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

  /// Makes the file anew, not ready yet. The caller holds the store's open lock alone.
  static SharedState create(const std::filesystem::path& path, const Birth& birth);

  /// The file that is there; nothing when there is none or it isn't of this boot, store file and format, complete and
  /// consistent.
  static std::optional<SharedState> open(const std::filesystem::path& path, const Uuid& boot_id,
                                         const Uuid& store_file_id);

  /// The same for a file whose header may say anything: nothing of it is checked but one of the two stamps. For the
  /// only process that has it, to save what is in the ring.
  static std::optional<SharedState> open_damaged(const std::filesystem::path& path, const Uuid& boot_id,
                                                 const Uuid& store_file_id);

  /// The file's, for errors.
  const std::filesystem::path& path() const { return path_; }
  /// Gives the file another name, in place of any file that has it.
  void rename(const std::filesystem::path& path);

  SharedHeader& header() const { return *reinterpret_cast<SharedHeader*>(file_.data()); }
  /// Refers to path(): used no longer than this object is at its place.
  LeaseTable leases() const;
  Ring ring() const;
  /// For the only process that has it: makes locks that damage has closed for good locks again, and a damaged stamp
  /// like its copy.
  void mend() const;
  /// Of a life that is over: gives the ring's space back, when everything in it is saved.
  void give_back_ring() { file_.give_back(ring_offset()); }

  /// The stamp a filter or index file of this life has.
  FileStamp stamp_for(FileKind kind, std::uint64_t number, std::uint64_t part, std::uint64_t extent,
                      std::uint64_t file_bytes) const;

 private:
  static constexpr std::size_t kTrailerBytes = 4096;  // Ends with the stamp's copy.
  static std::size_t file_bytes(std::uint64_t max_claims, std::uint64_t ring_bytes) {
    return kHeaderBytes + lease_bytes(static_cast<std::uint32_t>(max_claims)) + ring_bytes + kTrailerBytes;
  }

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
