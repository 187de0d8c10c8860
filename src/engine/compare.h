#pragma once

#include <cstdint>

#include <oncelog/record.h>

namespace oncelog::internal {

/// What is known of an id's earlier message, compared with what a caller gives of the one at hand. Any thread.

/// Whether two fingerprints tell payloads apart: both are known, and differ.
constexpr bool payloads_differ(std::uint64_t a, std::uint64_t b) {
  return a != 0 && b != 0 && a != b;
}

/// 0 where nothing is given.
constexpr std::uint64_t fingerprint_of(const Attributes* given) {
  return given == nullptr ? 0 : given->fingerprint;
}

/// What a mark or a claim is answered where the id was processed as `record`. `given` may be null.
inline Marked compare(const Record& record, const Attributes* given) {
  Marked marked{Verdict::duplicate, record.lsn};
  if (given == nullptr) return marked;
  if (payloads_differ(given->fingerprint, record.fingerprint)) marked.verdict = Verdict::conflict;
  const SourceView& source = given->source;
  marked.redelivered = !source.name.empty() && record.source.name == source.name &&
                       record.source.partition == source.partition && record.source.offset == source.offset;
  return marked;
}

/// The same where it is claimed, with a payload of that fingerprint.
constexpr Verdict compare_claimed(std::uint64_t fingerprint, const Attributes* given) {
  return payloads_differ(fingerprint, fingerprint_of(given)) ? Verdict::conflict : Verdict::in_progress;
}

}  // namespace oncelog::internal
