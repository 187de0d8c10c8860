#pragma once

/// @file
/// A scope: where ids are checked, marked and claimed.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <oncelog/claim.h>
#include <oncelog/once.h>
#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/version.h>

namespace oncelog {

namespace internal {
class Engine;

/// What a scope is to the engine.
struct ScopeKey {
  std::uint32_t number;  // In its records; 0 is no scope.
  std::uint64_t hash_seed;
};
}  // namespace internal

/// One logical consumer's id space: the same id in two scopes is two messages. From Store::scope. A cheap handle that
/// may be copied, used from many threads at once, and kept longer than the Store it came from. It keeps the store open.
///
/// Ids are any bytes, 1 to kMaxIdBytes of them. Anything else is ErrorCode::invalid_argument, and nothing of a batch is
/// marked then. Calls that accept something are ErrorCode::read_only for a store opened with Options::read_only.
class ONCELOG_API Scope {
 public:
  /// The scope's name. Valid as long as this handle.
  const std::string& name() const noexcept { return name_; }

  /// Whether the id was processed within the retention. Takes no lock. About 200 ns when it was not, without a system
  /// call; about 1 us when it was. Another thread may mark the id right after: only mark() and begin() decide who
  /// processes it. Errors: too_many_readers, io, corrupt.
  bool contains(std::string_view id) const;

  /// contains() for many ids at once, out[i] for ids[i]. Their memory latencies overlap, so it costs a fifth to a half
  /// per id. `out` must be as long as `ids`.
  void contains(std::span<const std::string_view> ids, std::span<bool> out) const;

  /// Whether the id was processed within the retention as part of this correlation (Attributes::correlation).
  bool contains(std::string_view id, std::string_view correlation) const;

  /// The record of an id that was processed within the retention: the newest, where there are several. Costs as
  /// contains().
  std::optional<Record> find(std::string_view id) const;

  /// find() for many ids at once, out[i] for ids[i]. `out` must be as long as `ids`.
  void find(std::span<const std::string_view> ids, std::span<std::optional<Record>> out) const;

  /// Marks the id as processed unless it is already, atomically over all threads and processes: for each id exactly one
  /// caller gets Verdict::fresh within the retention. An id that somebody has claimed is in_progress, and not marked.
  /// Waits as Options::ack says: with Ack::disk until the record that stands for the id, new or earlier, is on disk.
  ///
  /// About 400 ns; more when the ring is full and the caller has to flush it, or with Ack::disk (an fsync, shared with
  /// all that wait at the same time).
  ///
  /// Errors: full, io, read_only, too_many_readers, corrupt; invalid_argument for attributes beyond their limits, and
  /// for Ack::disk within a transaction of the store. If waiting for the disk fails, a fresh mark is taken back: the id
  /// is no longer marked, though callers that asked meanwhile got duplicate. Where it cannot be taken back, for want of
  /// room in the ring or the index, the id stays marked, and the Error's sentence says so.
  Marked mark(std::string_view id) const { return mark(id, ack_); }
  /// mark() that waits as `ack` says.
  Marked mark(std::string_view id, Ack ack) const { return mark(id, Attributes{}, ack); }
  /// mark() with attributes, which the record keeps or which the decision depends on.
  Marked mark(std::string_view id, const Attributes& attributes) const { return mark(id, attributes, ack_); }
  /// mark() with attributes that waits as `ack` says.
  Marked mark(std::string_view id, const Attributes& attributes, Ack ack) const;

  /// mark() for many ids at once, in order: a second occurrence of an id within the batch is a duplicate. `out` must be
  /// as long as `ids`. Each id is marked atomically, the batch is not: after an error, some of its first ids may be
  /// marked, and `out` says nothing. With Ack::disk, all fresh ones are taken back then, as a single mark is.
  void mark(std::span<const std::string_view> ids, std::span<Marked> out) const { mark(ids, out, ack_); }
  /// mark() for many ids that waits as `ack` says.
  void mark(std::span<const std::string_view> ids, std::span<Marked> out, Ack ack) const { mark(ids, {}, out, ack); }
  /// mark() for many ids with attributes[i] for ids[i]; with none when `attributes` is empty.
  void mark(std::span<const std::string_view> ids, std::span<const Attributes> attributes, std::span<Marked> out,
            Ack ack) const;

  /// Claims the id to process it, for `lease` from now (1 ms to 100 years): process, then mark. At most one holder has
  /// an id at a time. Waits up to `patience` while another one holds it; a holder's death is noticed within 20 ms then.
  /// See Claim.
  ///
  /// Costs about as much as a mark, without a system call unless it waits; the first claim after a reboot costs a
  /// commit. Errors: those of mark(); full when Options::max_claims are held.
  Claim begin(std::string_view id, std::chrono::milliseconds lease, const Attributes& attributes = {},
              std::chrono::milliseconds patience = {}) const;

  /// begin() for many ids at once, without attributes or patience. After an error nothing is claimed.
  ClaimBatch begin(std::span<const std::string_view> ids, std::chrono::milliseconds lease) const;

  /// Runs `work` once for the id within the retention, over all threads and processes: claims the id, calls `work`, and
  /// marks the id with what it returned. Every later caller gets that result without a run; a caller that comes
  /// meanwhile waits for it, up to OnceOptions::patience. What `work` throws frees the id and goes on to the caller.
  ///
  /// The effect of `work` is done at least once, not exactly once: a process that dies after it and before the mark, or
  /// a lease that expires, lets another caller run it. OnceResult says what happened here.
  ///
  /// Costs about as much as begin() and complete(), and a copy of the result. Errors: those of begin() and
  /// Claim::complete. A result beyond the limits of Attributes::result is invalid_argument and frees the id: the work
  /// was done, and the next caller does it again. invalid_argument also for a call within `work` for the same id on
  /// the same thread. A fork within `work` leaves the claim with the parent.
  OnceResult once(std::string_view id, const OnceOptions& options, const std::function<std::string()>& work) const;

  /// Waits until the id is unclaimed, for up to `patience`; takes no claim. Returns whether it is unclaimed, which may
  /// have changed when the caller looks.
  bool wait_until_free(std::string_view id, std::chrono::milliseconds patience) const;

  /// For operators: makes a processed id fresh again, and notes that in the log (Record::forgotten). Returns whether
  /// the id was a duplicate. As safe as a mark, on disk as `ack` says. A claim on the id is not touched. Errors: those
  /// of mark(); if waiting for the disk fails, the id is forgotten all the same, and the Error says so.
  bool forget(std::string_view id, Ack ack = Ack::disk) const;

  /// For operators: frees a claimed id, whoever holds it, alive or not. Its holder learns that from complete() or
  /// renew(). Returns whether there was a claim.
  bool release(std::string_view id) const;

 private:
  friend class Store;
  friend class Transaction;
  Scope(std::shared_ptr<internal::Engine> engine, std::string name, Ack ack, const ScopeOptions& options);
  internal::ScopeKey key() const;
  std::shared_ptr<internal::Engine> kept() const;

  std::shared_ptr<internal::Engine> engine_;
  std::string name_;
  internal::ScopeKey key_;  // Number 0: a name that a read-only store did not know when it was asked.
  Ack ack_;
  ScopeOptions options_;
};

}  // namespace oncelog
