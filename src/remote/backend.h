#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <oncelog/claim_info.h>
#include <oncelog/options.h>
#include <oncelog/record.h>
#include <oncelog/scan.h>
#include <oncelog/table.h>

#include "base/host.h"

struct pg_conn;

namespace oncelog::internal::remote {

/// By which a server knows a call again that was sent twice because its answer was lost: 16 random bytes.
using Attempt = Uuid;

/// What is given with one id of a batch, besides the batch's own.
struct Ask {
  std::string_view id;
  const Attributes* given = nullptr;  // Null: no attributes.
  /// Null: the batch's. The asks of several callers may share a batch, each with its own attempt: a caller whose answer
  /// was lost asks again with the same, whoever is in its batch then.
  const Attempt* attempt = nullptr;
};

inline const Attempt& attempt_of(const Ask& ask, const Attempt& batch) {
  return ask.attempt != nullptr ? *ask.attempt : batch;
}

/// How claims are taken.
struct Terms {
  std::chrono::milliseconds lease{0};
  OrphanPolicy orphans = OrphanPolicy::free_at_once;

  friend bool operator==(const Terms&, const Terms&) = default;
};

/// What the server has decided on one id.
struct Answer {
  Marked marked;
  std::optional<Record> record = std::nullopt;     // Of a duplicate or conflict; its scope and id are left empty.
  std::optional<ClaimOwner> owner = std::nullopt;  // For in_progress.
  std::uint64_t token = 0;                         // Of the claim that was taken; 0: none.
  Time processed_at{};                             // Of what mark() has marked as fresh: its record's.
};

/// A record that was made, by its place and the server's clock.
struct Stamp {
  Lsn lsn;  // 0: none was made.
  Time processed_at{};

  friend bool operator==(const Stamp&, const Stamp&) = default;
};

/// What a near tier asks for now and then, to know whether what it remembers of a scope still holds.
struct Pulse {
  Time now;  // By the server's clock, at some moment of the call.
  /// Once an id of the scope was forgotten, it differs from all before, those of another store included that was at the
  /// same address, and those that a server has lost. What is asked after it was read is answered with all in mind that
  /// was forgotten before it.
  std::uint64_t generation = 0;
};

/// What became of a record that was to be imported.
enum class ImportOutcome : std::uint8_t { imported, redated, known, claimed, expired };

/// A claim as its holder names it.
struct Held {
  std::string_view id;
  std::uint64_t token = 0;
  const Attributes* given = nullptr;  // For complete().
};

/// The scope under which locks are kept, as claims that are never completed. No scope of users is named so.
inline constexpr std::string_view kLockScope{};

/// A connection was lost, or there is none: nothing is known of what was asked last. Whoever catches it may ask again,
/// with the same attempt.
class ConnectionLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A transaction on the server. One thread. Destroyed without commit() it is rolled back.
class Work {
 public:
  Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  virtual ~Work() = default;

  /// As Backend::complete; what it marks stands with commit().
  virtual void complete(std::string_view scope, std::span<const Held> held, std::span<Stamp> out) = 0;
  virtual void put(std::string_view table, std::string_view key, std::string_view value) = 0;
  virtual std::optional<std::string> get(std::string_view table, std::string_view key) = 0;
  virtual bool erase(std::string_view table, std::string_view key) = 0;
  virtual void scan(std::string_view table, std::string_view from, const EntryVisitor& visitor) = 0;
  /// Finds out what became of it when the answer is lost; then an Error is thrown only if it did not commit.
  virtual void commit() = 0;
  /// libpq's connection; null for another engine.
  virtual pg_conn* connection() noexcept { return nullptr; }
};

/// An engine that several hosts share, as RemoteEngine uses it: each call is one round trip for all its ids, and is
/// decided by the server's clock alone. Arguments are within their limits; ids of one batch may repeat, and are decided
/// in order. Scopes are named, and come to be with their first id.
///
/// Thread safety: all of it. Errors: ConnectionLost as above; everything else is an Error with its sentence. A call
/// that is given an attempt may be sent again with it: what it had done the first time is its own, not another's.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  /// The retention that the store has.
  virtual std::chrono::microseconds retention() const = 0;
  /// For sentences: the address without its password.
  virtual std::string_view name() const = 0;

  // --- Ids
  /// The processed ones' records, without scope and id; only with their time and LSN unless `whole`.
  virtual void find(std::string_view scope, std::span<const std::string_view> ids, bool whole,
                    std::span<std::optional<Record>> out) = 0;
  /// Marks those that are fresh. With Ack::disk all of them are on the server's disk when it returns, also what it
  /// found.
  virtual void mark(std::string_view scope, std::span<const Ask> asked, Ack ack, const Attempt& attempt,
                    std::span<Answer> out) = 0;
  /// Claims those that are fresh. An id that this batch has claimed already by the same attempt is a duplicate.
  virtual void claim(std::string_view scope, std::span<const Ask> asked, const Terms& terms, const Attempt& attempt,
                     std::span<Answer> out) = 0;
  /// Marks what is held and ends it; out[i] is the record's, of LSN 0 when the claim was no longer the holder's.
  virtual void complete(std::string_view scope, std::span<const Held> held, Ack ack, const Attempt& attempt,
                        std::span<Stamp> out) = 0;
  /// Has the lease end so long from now. Returns false when the claim is no longer the holder's.
  virtual bool renew(std::string_view scope, const Held& held, std::chrono::milliseconds lease) = 0;
  /// Frees claims; returns how many were still held.
  virtual std::size_t abandon(std::string_view scope, std::span<const Held> held) = 0;
  /// Takes over the records of that scope with their own times; see Store::import. Asked again after a lost answer it
  /// finds known what it has imported. Nothing of it need be on the server's disk when it returns.
  virtual void import(std::string_view scope, std::span<const Record> records, std::span<ImportOutcome> out) = 0;
  /// Returns whether the id was processed.
  virtual bool forget(std::string_view scope, std::string_view id, Ack ack, const Attempt& attempt) = 0;
  /// Frees a claim, whoever holds it. Returns whether there was one.
  virtual bool release(std::string_view scope, std::string_view id, const Attempt& attempt) = 0;
  /// Who holds the id.
  virtual std::optional<ClaimOwner> holder(std::string_view scope, std::string_view id) = 0;
  /// The scope need not exist yet.
  virtual Pulse pulse(std::string_view scope) = 0;

  // --- The whole store
  virtual std::vector<std::string> scopes() = 0;
  virtual std::vector<ClaimInfo> claims() = 0;
  virtual Time known_since() = 0;
  /// Oldest first.
  virtual std::vector<Record> correlated(std::string_view correlation) = 0;
  /// Oldest first, each once, with scope and id.
  virtual void scan(const ScanRange& range, const std::function<bool(const Record&)>& visitor) = 0;
  /// How many records there are, about.
  virtual std::uint64_t records() = 0;

  // --- The disk
  /// Whether all that was committed before a call which waits for the disk is there, too.
  virtual bool has_one_log() const { return true; }
  /// Returns when all that any client was answered before is on the server's disk.
  virtual void flush() = 0;
  /// Gives back the space of what is past its retention, as far as it is due.
  virtual Expired upkeep() = 0;

  // --- Transactions
  virtual std::unique_ptr<Work> begin_work() = 0;
  virtual std::optional<std::string> get(std::string_view table, std::string_view key) = 0;
  virtual void scan_table(std::string_view table, std::string_view from, const EntryVisitor& visitor) = 0;
};

}  // namespace oncelog::internal::remote
