#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <oncelog/version.h>

namespace oncelog {

/// Points in time are UTC, in microseconds: the resolution in which records are stored.
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

inline constexpr std::size_t kMaxIdBytes = 1024;
inline constexpr std::size_t kMaxScopeBytes = 255;
inline constexpr std::size_t kMaxCorrelationBytes = 1024;
inline constexpr std::size_t kMaxSourceBytes = 255;
inline constexpr std::size_t kMaxResultBytes = std::size_t{1} << 20;

/// A record's address: the byte offset in the store's endless stream of records, a multiple of 8. 0 is no record.
struct Lsn {
  std::uint64_t value = 0;

  friend constexpr auto operator<=>(Lsn, Lsn) = default;
};

/// What the store says of an id.
enum class Verdict : std::uint8_t {
  fresh,        ///< Not processed within the retention; by mark(), processed from now on.
  duplicate,    ///< Processed before, and its retention is not over.
  in_progress,  ///< Claimed by another worker whose lease is not over.
  conflict,     ///< Processed before with another payload: both fingerprints are known, and differ.
  too_old,      ///< Not known, but older than all that is remembered: nobody can tell whether it was processed.
};

ONCELOG_API std::string_view to_string(Verdict verdict);

/// Where a broker keeps a message: its topic or queue, the partition, and the place in it. Unlike the id, which the
/// sender chose, it tells a redelivery of one delivery (same source) from a second message with the same id.
template <typename Text>
struct BasicSource {
  Text name = {};  ///< 1 to kMaxSourceBytes bytes; empty means that no source is known.
  std::uint32_t partition = 0;
  std::uint64_t offset = 0;

  friend bool operator==(const BasicSource&, const BasicSource&) = default;
};
using Source = BasicSource<std::string>;
using SourceView = BasicSource<std::string_view>;

/// What a caller knows of a message besides its id. All of it is optional, and only looked at during the call. A record
/// with attributes takes 48 bytes and their text more.
struct Attributes {
  /// Joins the records of one business transaction, over all scopes: see Store::correlated. Up to kMaxCorrelationBytes.
  std::string_view correlation = {};

  /// Of the payload, by fingerprint(); 0 is none. An id that comes again with another one is Verdict::conflict.
  std::uint64_t fingerprint = 0;

  /// The answer to give to a duplicate, up to kMaxResultBytes, an eighth of Options::ring_bytes, and a
  /// thirty-second of Options::max_bytes.
  std::string_view result = {};

  SourceView source = {};

  /// The message's own timestamp; not stored. When it lies before Store::known_since(), an unknown id is
  /// Verdict::too_old instead of fresh.
  std::optional<Time> sent_at = std::nullopt;
};

/// A fingerprint of a payload for Attributes::fingerprint: its 64-bit XXH3 hash, never 0. Tells payloads apart that
/// differ by accident, not by design.
ONCELOG_API std::uint64_t fingerprint(std::string_view payload) noexcept;

/// The answer of mark(): the verdict, and the LSN of the record that stands for the id now: the new one when fresh, the
/// earlier one when duplicate or conflict (0 otherwise). Either way the message may be acknowledged to its broker once
/// Store::durable() is above lsn.
struct Marked {
  Verdict verdict = Verdict::fresh;
  Lsn lsn = {};
  /// The earlier record came from the source that the caller has given: the broker delivers the same delivery again.
  bool redelivered = false;

  friend constexpr bool operator==(const Marked& marked, Verdict wanted) { return marked.verdict == wanted; }
  friend constexpr bool operator==(const Marked&, const Marked&) = default;
};

/// One processed message.
struct Record {
  std::string scope;
  std::string id;
  Time processed_at;
  Lsn lsn;

  // As given in Attributes; empty or 0 when they were not.
  std::string correlation = {};
  std::uint64_t fingerprint = 0;
  std::string result = {};
  Source source = {};

  /// Not a message but the note that Scope::forget made the id fresh again; only Store::scan shows these.
  bool forgotten = false;
};

}  // namespace oncelog
