#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <oncelog/claim.h>
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

/// One logical consumer's id space: the same id in two scopes is two messages. Got from Store::scope; a cheap
/// handle that may be copied, used from many threads at once, and outlive the Store it came from.
///
/// Ids are any bytes, 1 to kMaxIdBytes of them; anything else is ErrorCode::invalid_argument, and in a batch nothing of
/// the batch is marked then.
class ONCELOG_API Scope {
 public:
  const std::string& name() const noexcept { return name_; }

  /// Whether the id was processed within the retention. Takes no lock. About 200 ns when it was not (no system call),
  /// about 1 us when it was. Another thread may mark the id right after: only mark() decides who processes it.
  bool contains(std::string_view id) const;

  /// contains() for many ids at once, out[i] for ids[i]; their memory latencies overlap, so it costs a fifth to a half
  /// per id. `out` must be as long as `ids`.
  void contains(std::span<const std::string_view> ids, std::span<bool> out) const;

  /// Whether the id was processed within the retention as part of this correlation (Attributes::correlation).
  bool contains(std::string_view id, std::string_view correlation) const;

  /// The record of an id that was processed within the retention: the newest, where there are several.
  std::optional<Record> find(std::string_view id) const;

  /// find() for many ids at once. `out` must be as long as `ids`.
  void find(std::span<const std::string_view> ids, std::span<std::optional<Record>> out) const;

  /// Marks the id as processed unless it is already, atomically over all threads and processes: for each id exactly one
  /// caller gets Verdict::fresh. About 400 ns; more when the ring is full and the caller has to flush it. With
  /// Ack::disk it returns when the record that stands for the id (new or earlier) is on disk.
  ///
  /// An id that someone else has claimed is in_progress, and not marked.
  ///
  /// Errors: full, io, read_only; invalid_argument for attributes beyond their limits. When the wait for the disk fails
  /// (full, io) a fresh mark is taken back: the id is not marked, as if the call had not been made, but for others that
  /// asked meanwhile and were told duplicate. Where it cannot be taken back, for want of room in the ring or the index,
  /// the Error's sentence says that the id stands as marked; contains() shows it.
  Marked mark(std::string_view id) const { return mark(id, ack_); }
  Marked mark(std::string_view id, Ack ack) const { return mark(id, Attributes{}, ack); }
  Marked mark(std::string_view id, const Attributes& attributes) const { return mark(id, attributes, ack_); }
  Marked mark(std::string_view id, const Attributes& attributes, Ack ack) const;

  /// mark() for many ids at once, in order: a second occurrence of an id within the batch is a duplicate. `out` must be
  /// as long as `ids`. Each id is marked atomically, the batch is not: after an error its first ids may be marked. With
  /// Ack::disk all fresh ones are taken back then, as a single mark is.
  void mark(std::span<const std::string_view> ids, std::span<Marked> out) const { mark(ids, out, ack_); }
  void mark(std::span<const std::string_view> ids, std::span<Marked> out, Ack ack) const { mark(ids, {}, out, ack); }
  /// With attributes[i] for ids[i]; none when `attributes` is empty.
  void mark(std::span<const std::string_view> ids, std::span<const Attributes> attributes, std::span<Marked> out,
            Ack ack) const;

  /// Claims the id to process it, for `lease` from now (1 ms to 100 years): process, then mark. Waits up to `patience`
  /// while another one has it. Exactly one of all that ask has an id at any time. See Claim.
  ///
  /// Errors: those of mark; full when Options::max_claims are held.
  Claim begin(std::string_view id, std::chrono::milliseconds lease, const Attributes& attributes = {},
              std::chrono::milliseconds patience = {}) const;

  /// begin() for many ids at once, without attributes or patience.
  ClaimBatch begin(std::span<const std::string_view> ids, std::chrono::milliseconds lease) const;

  /// Waits until no other one has claimed the id, or `patience` is over; returns whether it is free. Holds nothing.
  bool wait_until_free(std::string_view id, std::chrono::milliseconds patience) const;

  /// For operators: makes a processed id fresh again. The log notes that it was done (Record::forgotten). Returns
  /// whether the id was a duplicate. As safe as a mark; on disk as `ack` says. A claim on the id is not touched. When
  /// the wait for the disk fails the id is forgotten all the same, and the Error says so.
  bool forget(std::string_view id, Ack ack = Ack::disk) const;

  /// For operators: frees a claimed id, whoever has it, alive or not. Returns whether there was a claim.
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
