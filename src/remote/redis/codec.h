#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "remote/backend.h"

namespace oncelog::internal::remote {

/// The values behind keys, as scripts.cc packs and unpacks them: integers are big-endian, and small enough for the
/// doubles of Lua.
///
///     record   state 'P' or 'F' | time 8 | LSN/8 8 | epoch 4 | counter 8 | attempt 16 | occurrence 4 | attributes
///     claim    deadline 8 | epoch 4 | counter 8 | attempt 16 | occurrence 4 | process 4 | orphan policy 1
///              | fingerprint 8
///     state    time 8 | LSN/8 8 | epoch 4 | counter 8 | since 8 | forgotten 8 | run id
///
/// A record's token is that of the claim that it completed, 0 when it was marked. Attributes are left out when none is
/// set: fingerprint 8 | partition 4 | offset 8 | bytes of source 2 | of correlation 2 | source | correlation | result.
/// All functions throw Error::corrupt, which names what was read, for bytes that no script writes.

/// The part of a record that says when and where, without attempt and attributes.
inline constexpr std::size_t kHeadBytes = 17;

struct Head {
  bool forgotten = false;
  std::int64_t time_us = 0;
  Lsn lsn;
};
Head unpacked_head(std::string_view record);

/// All but scope and id; of a head alone, what it has.
Record unpacked_record(std::string_view record);

/// As a script appends them to a record; empty when none is set.
std::string packed_attributes(const Attributes* given);

struct StoredClaim {
  ClaimOwner owner;
  OrphanPolicy orphans = OrphanPolicy::free_at_once;
  std::uint64_t token = 0;
  std::uint64_t fingerprint = 0;  // Of the payload; 0: none.

  bool held(std::int64_t now_us) const {
    return orphans == OrphanPolicy::keep || owner.deadline.time_since_epoch().count() > now_us;
  }
};
StoredClaim unpacked_claim(std::string_view claim);

/// What a shard, or a store with one state for all shards, has given out.
struct ShardState {
  std::int64_t time_us = 0;
  Lsn lsn;
  std::uint64_t token = 0;
  std::int64_t since_us = 0;  // Before that nothing is known.
  Lsn forgotten;              // Of the newest note that an id was forgotten, or of the state's making or loss.
  std::string run;            // Of the server that wrote it last.
};
ShardState unpacked_state(std::string_view state);

/// A fencing token's parts: the epoch in the upper 24 bits, the counter in the lower 40.
inline constexpr unsigned kCounterBits = 40;
constexpr std::uint64_t token_of(std::uint64_t epoch, std::uint64_t counter) {
  return (epoch << kCounterBits) | counter;
}
constexpr std::uint64_t epoch_of(std::uint64_t token) {
  return token >> kCounterBits;
}
constexpr std::uint64_t counter_of(std::uint64_t token) {
  return token & ((std::uint64_t{1} << kCounterBits) - 1);
}

/// Appends an integer, big-endian.
void put(std::string& out, std::uint64_t value, std::size_t bytes);

/// Reads what put() has written, within its bounds.
class Unpacker {
 public:
  /// `what` is for the sentence.
  Unpacker(std::string_view bytes, const char* what) : left_(bytes), what_(what) {}

  std::uint64_t number(std::size_t bytes);
  /// One that a double of Lua holds.
  std::int64_t small_number();
  std::string_view bytes(std::size_t count);
  std::string_view rest() { return bytes(left_.size()); }
  bool at_end() const { return left_.empty(); }
  void expect(bool holds) const;

 private:
  std::string_view left_;
  const char* what_;
};

}  // namespace oncelog::internal::remote
