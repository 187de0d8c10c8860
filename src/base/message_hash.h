#pragma once

#include <cstdint>
#include <string_view>

#include "base/xxh3.h"

namespace oncelog::internal {

/// The hash of one id in one scope: 128 bits of XXH3 under a secret seed, so that a sender that chooses ids cannot aim
/// at collisions. This is the only place that cuts the bits up: the low word serves the window filter, the high word
/// the index, so that an id which passes the one by accident is no likelier to pass the other. A value, 16 bytes, free
/// to copy.
///
///   low:  | 63 .. 32 filter line | 31 .. 20 unused | 19 .. 0 four filter rows of 5 bits |
///   high: | 63 .. 24 index home  | 23 .. 1 index tag | 0 unused: in a tag it says what was hashed     |
class MessageHash {
 public:
  /// Messages and correlations share filter and index; their tags never meet, so that neither's entries are ever taken
  /// for the other's.
  enum class Of : std::uint8_t { message = 0, correlation = 1 };

  static constexpr unsigned kRows = 4;
  static constexpr unsigned kRowBits = 5;
  static constexpr unsigned kTagBits = 24;
  static constexpr unsigned kHomeBits = 40;
  static_assert(kRows * kRowBits <= 32 && kTagBits + kHomeBits == 64);

  /// Stand for a scope's number where there is none.
  static constexpr std::uint32_t kLockScope = 0;
  static constexpr std::uint32_t kCorrelationScope = ~std::uint32_t{0};

  /// The seed of a scope, from the store's secret one.
  static std::uint64_t scope_seed(std::uint64_t store_seed, std::uint32_t scope) {
    return XXH3_64bits_withSeed(&scope, sizeof scope, store_seed);
  }

  MessageHash() = default;
  MessageHash(std::uint64_t scope_seed, std::string_view id) {
    const XXH128_hash_t hash = XXH3_128bits_withSeed(id.data(), id.size(), scope_seed);
    low_ = hash.low64;
    high_ = hash.high64;
  }

  /// Which of `lines` filter lines, at most 2^32 (multiply and shift: any number of lines, no division).
  std::uint64_t line(std::uint64_t lines) const { return ((low_ >> 32) * lines) >> 32; }

  /// Row i of the line's 32, i < kRows.
  unsigned row(unsigned i) const { return static_cast<unsigned>(low_ >> (i * kRowBits)) & ((1U << kRowBits) - 1); }

  /// Where the search in an index of `slots` slots begins, at most 2^40.
  std::uint64_t home(std::uint64_t slots) const {
    return static_cast<std::uint64_t>((Wide{high_ >> kTagBits} * slots) >> kHomeBits);
  }

  std::uint64_t tag(Of of) const {
    return (high_ & ((std::uint64_t{1} << kTagBits) - 2)) | static_cast<std::uint64_t>(of);
  }

  /// All of it folded to 64 bits, for a record's checksum.
  std::uint64_t digest() const { return low_ ^ (high_ * 0x9E3779B97F4A7C15ULL); }

  /// Which of `chains` chains of a hash table, a power of two.
  std::uint64_t chain(std::uint64_t chains) const { return low_ >> 20 & (chains - 1); }

  friend bool operator==(const MessageHash&, const MessageHash&) = default;

 private:
  __extension__ using Wide = unsigned __int128;

  std::uint64_t low_ = 0;
  std::uint64_t high_ = 0;
};
static_assert(sizeof(MessageHash) == 16);

}  // namespace oncelog::internal
