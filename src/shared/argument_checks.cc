#include "shared/argument_checks.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include <oncelog/error.h>

#include "base/error.h"
#include "shared/settings.h"
#include "shared/shared_state.h"
#include "window/index.h"

namespace oncelog::internal {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMinRetention{1};
constexpr milliseconds kMaxRetention = std::chrono::hours{24 * 365 * 100};
constexpr std::uint64_t kMinMapBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxMapBytes = std::uint64_t{4} << 40;
// Whatever is in the log or the ring lies within reach of its bucket's index.
static_assert(kMaxMapBytes + SharedState::kMaxRingBytes <= Slot::kMaxOffset * kRecordUnit);
constexpr milliseconds kMaxFlushInterval = std::chrono::hours{1};

void check_name(std::string_view what, std::string_view name, std::size_t most) {
  if (name.empty() || name.size() > most) {
    refuse(fmt::format("{} has {} bytes; 1 to {} are possible", what, name.size(), most));
  }
}

}  // namespace

std::string in_words(milliseconds duration) {
  using Unit = std::pair<std::string_view, std::int64_t>;
  constexpr std::array<Unit, 5> kUnits{{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
  std::int64_t left = duration.count();
  if (left <= 0) return fmt::format("{}ms", left);
  std::string words;
  for (const auto& [name, size] : kUnits) {
    if (left >= size) words += fmt::format("{}{}", left / size, name);
    left %= size;
  }
  return words;
}

void check_option_ranges(const Options& options) {
  if (options.retention && (*options.retention < kMinRetention || *options.retention > kMaxRetention)) {
    refuse(fmt::format("a retention of {} is not between 1 ms and 100 years", in_words(*options.retention)));
  }
  if (options.buckets && (*options.buckets < kMinBuckets || *options.buckets > kMaxBuckets)) {
    refuse(fmt::format("buckets is {}, not between {} and {}", *options.buckets, kMinBuckets, kMaxBuckets));
  }
  if (options.ring_bytes && !SharedState::valid_ring_bytes(*options.ring_bytes)) {
    refuse(fmt::format("ring_bytes is {}, not a power of two from {} to {}", *options.ring_bytes,
                       SharedState::kMinRingBytes, SharedState::kMaxRingBytes));
  }
  if (options.expected_ids && !Settings::valid_expected_ids(*options.expected_ids)) {
    refuse(fmt::format("expected_ids is {}, not between 1 and {}", *options.expected_ids, Settings::kMaxExpectedIds));
  }
  if (options.map_bytes < kMinMapBytes || options.map_bytes > kMaxMapBytes) {
    refuse(fmt::format("map_bytes is {}, not between {} and {}", options.map_bytes, kMinMapBytes, kMaxMapBytes));
  }
  if (options.max_readers == 0) refuse("max_readers is 0");
  if (options.max_claims && !SharedState::valid_max_claims(*options.max_claims)) {
    refuse(fmt::format("max_claims is {}, not between 1 and {}", *options.max_claims, LeaseTable::kMaxCapacity));
  }
  if (options.max_bytes && !SharedState::valid_max_bytes(*options.max_bytes)) {
    refuse(fmt::format("max_bytes is {}; it must be 0, or {} or more", *options.max_bytes, SharedState::kMinMaxBytes));
  }
  if (options.flush_interval < milliseconds{1} || options.flush_interval > kMaxFlushInterval) {
    refuse(fmt::format("a flush_interval of {} is not between 1 ms and 1 hour", in_words(options.flush_interval)));
  }
}

void check_scope_name(std::string_view name) {
  check_name("a scope's name", name, kMaxScopeBytes);
}

void check_id(std::string_view id) {
  check_name("an id", id, kMaxIdBytes);
}

void check_lock_name(std::string_view name) {
  check_name("a lock's name", name, kMaxIdBytes);
}

void check_correlation(std::string_view correlation) {
  check_name("a correlation id", correlation, kMaxCorrelationBytes);
}

void check_attributes(const Attributes& attributes) {
  if (!attributes.correlation.empty()) check_correlation(attributes.correlation);
  if (attributes.source.name.size() > kMaxSourceBytes) {
    refuse(
        fmt::format("a source's name has {} bytes; {} are the most", attributes.source.name.size(), kMaxSourceBytes));
  }
  if (attributes.result.size() > kMaxResultBytes) {
    refuse(fmt::format("a result has {} bytes; {} are the most", attributes.result.size(), kMaxResultBytes));
  }
}

Attributes attributes_of(const Record& record) {
  return {record.correlation,
          record.fingerprint,
          record.result,
          {record.source.name, record.source.partition, record.source.offset},
          std::nullopt};
}

void check_import(const Record& record) {
  check_scope_name(record.scope);
  check_id(record.id);
  check_attributes(attributes_of(record));
  if (record.forgotten) refuse("a note that an id was forgotten is no record that can be imported");
  if (record.processed_at < Time{}) refuse("a record that is to be imported was processed before 1970");
}

void check_attributes(const Attributes& attributes, const Ring& ring) {
  check_attributes(attributes);
  if (attributes.result.empty() || attributes.result.size() + kMaxRecordPrefixBytes <= ring.reserve_bytes()) return;
  refuse(
      ring.lent_bytes() == ring.bytes()
          ? fmt::format("a result of {} bytes is too large for a ring of {}; open the store with a larger ring_bytes",
                        attributes.result.size(), ring.bytes())
          : fmt::format("a result of {} bytes is too large under this max_bytes: its record would take more than {} "
                        "bytes; open the store with a larger max_bytes",
                        attributes.result.size(), ring.reserve_bytes()));
}

void check_lease(std::chrono::milliseconds lease) {
  if (lease < milliseconds{1} || lease > kMaxLease)
    refuse(fmt::format("a lease of {} is not between 1 ms and 100 years", in_words(lease)));
}

}  // namespace oncelog::internal
