#pragma once

/// @file
/// How to open a store, and how its scopes work.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include <oncelog/event.h>

namespace oncelog {

/// When a mark returns.
enum class Ack : std::uint8_t {
  host,  ///< When it survives the death of this process and of every other on the host.
  disk,  ///< When it survives a power failure: after the fsync of the group commit it is in.
};

inline constexpr std::chrono::milliseconds kDefaultRetention = std::chrono::hours{24};  ///< See Options::retention.
inline constexpr unsigned kDefaultBuckets = 8;                                          ///< See Options::buckets.
inline constexpr unsigned kMinBuckets = 2;                                              ///< See Options::buckets.
inline constexpr unsigned kMaxBuckets = 14;                                             ///< See Options::buckets.
inline constexpr std::uint64_t kDefaultExpectedIds = 1'000'000;                         ///< See Options::expected_ids.
inline constexpr std::uint64_t kDefaultRingBytes = std::uint64_t{16} << 20;             ///< See Options::ring_bytes.
inline constexpr std::uint32_t kDefaultMaxClaims = 32'768;                              ///< See Options::max_claims.

/// What the owner's death and the lease's expiry do to a claim. A claim that is completed or abandoned is free at once,
/// whatever the policy.
enum class OrphanPolicy : std::uint8_t {
  free_at_once,      ///< The owner's death frees it at once, and so does the expiry of its lease.
  free_after_lease,  ///< The expiry of its lease frees it; the owner's death before that does not.
  keep,              ///< It stays until an operator frees it (Scope::release, `oncelog release`), or the host reboots.
};

/// How a Scope handle works.
struct ScopeOptions {
  OrphanPolicy orphans = OrphanPolicy::free_at_once;  ///< Of the claims that this handle takes.
};

/// How to open a store. Every field has a default that is right for most.
///
/// Four of them are kept in the store: max_bytes, expected_ids, ring_bytes and max_claims. Unset, they mean "as
/// stored", or the default for a new store. A value that is set is stored, and holds for every process until one opens
/// the store with another: the last writer decides. With read_only nothing is stored, and what is set here is ignored.
struct Options {
  // --- Fixed when the store is created. Unset means "as stored", or the default for a new store; a value that
  // contradicts the stored one is ErrorCode::options_mismatch.

  /// How long an id stays a duplicate after it was processed: 1 ms to 100 years, 24 hours by default. Fixed when the
  /// store is created. Unset means as stored; a value that contradicts the stored one is ErrorCode::options_mismatch.
  std::optional<std::chrono::milliseconds> retention = std::nullopt;

  /// Into how many time slices the retention is cut: 2 to 14, 8 by default. Space comes back a slice at a time, so a
  /// store keeps up to 1/buckets more than its retention. More buckets mean slightly more false filter candidates.
  /// Fixed when the store is created, as retention is.
  std::optional<unsigned> buckets = std::nullopt;

  // --- Behaviour.

  /// What a mark through this handle waits for, unless the call says otherwise.
  Ack ack = Ack::host;

  /// Create the store where there is none. A directory that holds anything else is never turned into a store.
  bool create = true;

  /// Accept no marks, start no flusher, never create. Marks of other processes are seen as they happen. The same for
  /// all handles of a process; a handle that differs is ErrorCode::options_mismatch. Needs write access to the
  /// directory all the same, as LMDB's reader slots are shared memory.
  bool read_only = false;

  /// Open a store whose files belong to neither this user nor root. A hostile data.mdb can crash its reader.
  bool allow_foreign_owner = false;

  /// Open a store on NFS, SMB, FUSE and the like, whose mmap and locks are not what LMDB needs.
  bool allow_network_filesystem = false;

  /// Called for each decision on an id; see DecisionHook. A process's first handle on a store sets it. Giving it to a
  /// later handle, while the first is open, is ErrorCode::options_mismatch.
  DecisionHook on_decision = {};
  /// Called for what happens to the store; see StoreEventHook. Set as on_decision is.
  StoreEventHook on_event = {};

  /// Caps the size of data.mdb: where its records would make it larger, the oldest are forgotten before their time, and
  /// Store::known_since() rises. 0 is no cap, the default; otherwise 1 MiB at least. Kept in the store. A new value
  /// takes effect at once, in every process.
  ///
  /// User tables are not counted. The file never shrinks: one that is larger already stays as large (a backup is a
  /// compact copy). While somebody reads for long (a scan of a user table, a backup, a reader that was stopped), pages
  /// that are freed meanwhile cannot be used again. The file may then grow beyond the cap by what is marked, and by
  /// about 24 KiB for each commit, until that ends. At most a thirty-second of the cap waits for the disk at any time;
  /// a result, or the marks of one transaction, may take no more than that either.
  std::optional<std::uint64_t> max_bytes = std::nullopt;

  // --- Performance. None of these is needed for correctness. flush_interval, map_bytes and max_readers are those of a
  // process's first handle.

  /// Where the shared-memory files go: into a directory of the store's own in this one, so that stores may share a
  /// live_dir, or, when it is the store's directory, into that itself. It is kept in the store. All processes that have
  /// a store open must agree: ErrorCode::live_dir_mismatch.
  ///
  /// Empty, the default, follows the store's other users, or else what was given last. Where nothing ever was, or it is
  /// not there any more, the store chooses, each time that all of these files are made anyway (for a new store, and
  /// after a reboot): `/dev/shm`, if that is a tmpfs in which, and in memory, three times what is planned is free, and
  /// of which, and of the memory that the process's control group may take, it is a quarter at most; otherwise the
  /// store's own directory. `/dev/shm` is only chosen where it lasts until the next boot, as the shared memory holds
  /// marks that are not on disk yet: not in a container, and not for an ordinary user where systemd deletes that user's
  /// files there at the last logout (RemoveIPC). Nor is it for a store that is in memory itself, or by a process that
  /// runs neither as the store's owner nor as root. Metrics::live_dir and `oncelog stat` say where the files are.
  ///
  /// A tmpfs keeps the kernel's write-back away from the marks and makes their longest stall several times shorter. On
  /// a copy-on-write file system that cannot write in place (ZFS, bcachefs, NILFS2) live_dir must be elsewhere
  /// (ErrorCode::unsupported). LMDB's small lock.mdb stays in the store, so that on such a file system a full disk may
  /// still end a process when a thread looks something up for the first time. On Btrfs the files are made to be written
  /// in place. A snapshot of their subvolume undoes that until each block was written once: leave them out of snapshots
  /// by a live_dir elsewhere.
  std::filesystem::path live_dir = {};

  /// Ids expected per retention, 1 to 68,719,476,736 (2^36), 1 million by default: sizes the first filter and index.
  /// The store follows the traffic after that. Kept in the store; takes effect when the shared memory is rebuilt (after
  /// a reboot).
  std::optional<std::uint64_t> expected_ids = std::nullopt;

  /// How often the background commits, 1 ms to 1 hour. Its fsync comes at most 1.5 intervals after a mark: that is the
  /// window that a power failure can take. It holds while the process that marked lives. What a killed one has left is
  /// flushed by the next process that has the store open, within about three seconds (or two intervals more, where they
  /// are longer), or by the next that opens it. Of a process's first handle.
  std::chrono::milliseconds flush_interval{50};

  /// Bytes of the shared ring that holds what is not flushed yet: a power of two from 64 KiB to 1 GiB, 16 MiB by
  /// default. A larger ring rides out a slower disk. Kept in the store; takes effect when the shared memory is rebuilt.
  std::optional<std::uint64_t> ring_bytes = std::nullopt;

  /// Claims and locks that may be held at once, over all processes: 1 to 4,194,304, 32,768 by default. Each takes 136
  /// bytes of shared memory. Kept in the store; takes effect when the shared memory is rebuilt.
  std::optional<std::uint32_t> max_claims = std::nullopt;

  /// The most that data.mdb can grow to: 1 MiB to 4 TiB. Address space is reserved for 16 GiB of that at first, or for
  /// four times the file, and for more as the file grows; that costs neither disk nor memory. Of a process's first
  /// handle.
  std::uint64_t map_bytes = std::uint64_t{256} << 30;

  /// Threads, over all processes, that may read at once, and one for each process: 1 at least. One more is
  /// ErrorCode::too_many_readers. Of a process's first handle.
  unsigned max_readers = 1024;
};

}  // namespace oncelog
