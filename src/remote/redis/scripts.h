#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace oncelog::internal::remote {

/// What runs on the server: each script decides on all ids of a batch that are in one shard, atomically. All their keys
/// are in one slot, and all are named in KEYS.
///
/// Every script but the last three begins with the same arguments and the same question. KEYS[1] is the shard's state;
/// ARGV[1] the run id of the server that the connection leads to, ARGV[2] the run id under which this client has last
/// looked whether the server has forgotten something, ARGV[3] the terms. Unless the state was written under the same
/// run id as both, the script does nothing and answers "RUN": see History.
enum class Script : std::size_t {
  find,      // KEYS: records. Terms: whether whole. Answer: the record of each, or "".
  mark,      // KEYS: claims, records, correlations. Answer for each id: see kFresh.
  import,    // The same.
  claim,     // The same.
  complete,  // The same. Answer for each: the record's time and LSN/8, or "".
  renew,     // KEYS: claims. ARGV: id, token. Answer: 1 or 0.
  abandon,   // KEYS: claims. ARGV: id, token, ... Answer: how many were held.
  forget,    // KEYS: record, attempt. Answer: 1 or 0.
  release,   // KEYS: claims, attempt. ARGV: id. Answer: 1 or 0.
  claims,    // KEYS: claims. Answer: now, then ids with their claims.
  holder,    // KEYS: claims. ARGV: id. Answer: the claim, or "".
  trim,      // KEYS: claims. Answer: how many claims were removed, because nobody can want them any more.
  pulse,     // Answer: before when nothing is known, now, the LSN/8 of the newest forget.
  adopt,     // KEYS: state, and the record that was answered last. Answer: 1 when the server has forgotten, the state.
  enroll,    // KEYS: scopes, of a store. ARGV: a scope's name. Adds it, if it is new, as the last. Answer: 1 or 0.
  settle,    // KEYS: settings, of a store. ARGV: fields and values, used where there are no settings. Answer: all.
};
inline constexpr std::size_t kScripts = static_cast<std::size_t>(Script::settle) + 1;

/// The first byte of an answer on an id, and what follows it.
inline constexpr char kFresh = 'f';      // Time and LSN/8 of its record, or epoch and counter of the claim's token.
inline constexpr char kDuplicate = 'd';  // The record.
inline constexpr char kOwn = 'o';        // Nothing: this batch has claimed it already.
inline constexpr char kClaimed = 'c';    // The claim.
inline constexpr char kTooOld = 't';     // Nothing.

/// Their texts, in the order of Script.
const std::array<std::string, kScripts>& script_texts();

}  // namespace oncelog::internal::remote
