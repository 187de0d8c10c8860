#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace oncelog::internal::remote {

/// In a Redis Cluster, the slot of 16,384 that a key is in: by what stands in its first {}.
std::uint16_t slot_of(std::string_view key);

inline constexpr unsigned kSlots = 16'384;

/// The names of one shard's keys. All are in one slot:
///
///     PREFIX:{scope:shard}:ID          a processed id's record, or the note that it was forgotten
///     PREFIX:{scope:shard}#            claims, a hash from ids
///     PREFIX:{scope:shard}/TEXT        a correlation's ids, sorted by LSN
///     PREFIX:{scope:shard}?ATTEMPT     what an operator's call has answered
///     PREFIX:{scope:shard}             the shard's state, where the store has none for all of its shards
class ShardKeys {
 public:
  ShardKeys(std::string base, std::string state) : base_(std::move(base)), state_(std::move(state)) {}

  const std::string& state() const { return state_; }
  std::string claims() const { return base_ + '#'; }
  std::string record(std::string_view id) const { return joined(':', id); }
  std::string correlation(std::string_view text) const { return joined('/', text); }
  std::string attempt(std::string_view bytes) const { return joined('?', bytes); }

 private:
  std::string joined(char separator, std::string_view rest) const {
    std::string key;
    key.reserve(base_.size() + 1 + rest.size());
    return key.append(base_).append(1, separator).append(rest);
  }

  std::string base_;
  std::string state_;
};

/// The names of a store's keys. A scope's name is percent-encoded in them as far as it would end its tag early. Values
/// of this type are immutable; any thread.
class Keys {
 public:
  /// With `shards` of 1 all keys of the store but records are in the slot of `{store}` or on the same server anyway,
  /// and there is one state; with more each shard has its own.
  Keys(std::string prefix, unsigned shards) : prefix_(std::move(prefix)), shards_(shards) {}

  const std::string& prefix() const { return prefix_; }
  unsigned shards() const { return shards_; }
  unsigned shard_of(std::string_view id) const;
  ShardKeys shard(std::string_view scope, unsigned shard) const;

  std::string settings() const { return prefix_ + ":{store}settings"; }
  std::string scopes() const { return prefix_ + ":{store}scopes"; }

  /// For SCAN: all keys of shards.
  std::string pattern() const { return prefix_ + ":{*"; }
  struct Named {
    std::string scope;
    std::string_view id;
  };
  /// Whose record has this key; nothing for keys of other things. The id is a part of `key`.
  std::optional<Named> named(std::string_view key) const;

 private:
  std::string prefix_;
  unsigned shards_;
};

}  // namespace oncelog::internal::remote
