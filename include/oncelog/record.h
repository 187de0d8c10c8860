#pragma once

/// @file
/// Ids, verdicts and records: the values that all calls share.

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/version.h>

namespace oncelog {

/// A point in time: UTC, in microseconds, the resolution in which records are stored.
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

inline constexpr std::size_t kMaxIdBytes = 1024;                      ///< Of an id or a lock's name, from 1.
inline constexpr std::size_t kMaxScopeBytes = 255;                    ///< Of a scope's name, from 1.
inline constexpr std::size_t kMaxCorrelationBytes = 1024;             ///< Of Attributes::correlation.
inline constexpr std::size_t kMaxSourceBytes = 255;                   ///< Of a source's name.
inline constexpr std::size_t kMaxResultBytes = std::size_t{1} << 20;  ///< Of Attributes::result; see there.

/// Log sequence number: a record's address, its byte offset in the store's endless stream of records. A later record
/// has a larger one. It never changes.
struct Lsn {
  std::uint64_t value = 0;  ///< A multiple of 8; 0 is no record.

  friend constexpr auto operator<=>(Lsn, Lsn) = default;
};

/// What the store decides on an id.
enum class Verdict : std::uint8_t {
  fresh,        ///< Not processed within the retention. mark() has marked it; begin() has claimed it.
  duplicate,    ///< Processed before, and its retention is not over.
  in_progress,  ///< Claimed by another worker. It may still fail, so the message must not be acknowledged.
  conflict,     ///< Processed before, or claimed, with another payload: both fingerprints are known, and differ.
  too_old,      ///< Not known, but older than all that is remembered: nobody can tell whether it was processed.
};

/// The verdict's name, such as "in_progress".
ONCELOG_API std::string_view to_string(Verdict verdict);

/// Where a broker keeps a message. Unlike the id, which the sender chose, it distinguishes a redelivery (same source)
/// from a second message with the same id.
template <typename Text>
struct BasicSource {
  Text name = {};               ///< The topic or queue, 1 to kMaxSourceBytes bytes; empty when no source is known.
  std::uint32_t partition = 0;  ///< The partition of it.
  std::uint64_t offset = 0;     ///< The place in the partition.

  friend bool operator==(const BasicSource&, const BasicSource&) = default;
};
using Source = BasicSource<std::string>;           ///< A source that owns its name.
using SourceView = BasicSource<std::string_view>;  ///< A source whose name belongs to the caller.

/// What a caller knows of a message besides its id. Everything is optional. The views are only read during the call. A
/// record with attributes takes 48 bytes and their text more.
struct Attributes {
  /// Joins the records of one business transaction over all scopes, up to kMaxCorrelationBytes; see Store::correlated.
  std::string_view correlation = {};

  /// Of the payload, by fingerprint(); 0 is none. An id that comes again with another fingerprint is Verdict::conflict.
  std::uint64_t fingerprint = 0;

  /// The answer to give to a duplicate: up to kMaxResultBytes, an eighth of Options::ring_bytes, and a thirty-second of
  /// Options::max_bytes.
  std::string_view result = {};

  /// Where the broker keeps the message; see Marked::redelivered.
  SourceView source = {};

  /// The message's own timestamp; not stored. When it lies before Store::known_since(), an unknown id is
  /// Verdict::too_old instead of fresh.
  std::optional<Time> sent_at = std::nullopt;
};

/// A fingerprint of a payload for Attributes::fingerprint: its 64-bit XXH3 hash, never 0. Tells payloads apart that
/// differ by accident, not by design. Any thread.
ONCELOG_API std::uint64_t fingerprint(std::string_view payload) noexcept;

/// What mark() returns.
struct Marked {
  Verdict verdict = Verdict::fresh;  ///< What was decided.
  /// The LSN of the record that stands for the id: the new one when fresh, the earlier one when duplicate or conflict,
  /// 0 otherwise. Once Store::durable() is above it, that record is on disk, and the message may be acknowledged to its
  /// broker.
  Lsn lsn = {};
  /// Whether the earlier record came from the source that the caller has given: the broker delivered the same message
  /// again.
  bool redelivered = false;

  friend constexpr bool operator==(const Marked& marked, Verdict wanted) { return marked.verdict == wanted; }
  friend constexpr bool operator==(const Marked&, const Marked&) = default;
};

/// One processed message.
struct Record {
  std::string scope;  ///< The scope's name.
  std::string id;     ///< The message's id.
  /// When it was marked, by the store's clock: never earlier than the record before it, unless it was imported.
  Time processed_at;
  Lsn lsn;  ///< The record's address.

  std::string correlation = {};   ///< As given in Attributes; empty when unset.
  std::uint64_t fingerprint = 0;  ///< As given in Attributes; 0 when unset.
  std::string result = {};        ///< As given in Attributes; empty when unset.
  Source source = {};             ///< As given in Attributes; its name is empty when unset.

  /// Not a message but the note that Scope::forget made the id fresh again. Only Store::scan shows these.
  bool forgotten = false;
};

}  // namespace oncelog
