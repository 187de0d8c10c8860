#pragma once

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/host.h"
#include "remote/backend.h"

namespace oncelog::testing {

namespace remote = internal::remote;

/// Calls of a Backend with one id, and what comes back as a text, so that two answers can be compared and shown.

inline remote::Attempt new_attempt() {
  return internal::random_uuid();
}

inline remote::Answer mark_one(remote::Backend& backend, std::string_view scope, std::string_view id,
                               const Attributes& given = {}, const remote::Attempt& attempt = new_attempt(),
                               Ack ack = Ack::host) {
  remote::Answer answer;
  const remote::Ask ask{id, &given};
  backend.mark(scope, {&ask, 1}, ack, attempt, {&answer, 1});
  return answer;
}

inline remote::Answer claim_one(remote::Backend& backend, std::string_view scope, std::string_view id,
                                const Attributes& given = {}, const remote::Attempt& attempt = new_attempt(),
                                const remote::Terms& terms = {std::chrono::minutes{1}}) {
  remote::Answer answer;
  const remote::Ask ask{id, &given};
  backend.claim(scope, {&ask, 1}, terms, attempt, {&answer, 1});
  return answer;
}

inline remote::Stamp complete_one(remote::Backend& backend, std::string_view scope, std::string_view id,
                                  std::uint64_t token, const Attributes& given = {},
                                  const remote::Attempt& attempt = new_attempt()) {
  remote::Stamp stamp;
  const remote::Held held{id, token, &given};
  backend.complete(scope, {&held, 1}, Ack::host, attempt, {&stamp, 1});
  return stamp;
}

inline std::optional<Record> find_one(remote::Backend& backend, std::string_view scope, std::string_view id,
                                      bool whole = true) {
  std::optional<Record> found;
  backend.find(scope, {&id, 1}, whole, {&found, 1});
  return found;
}

inline std::string shown(const std::optional<Record>& record) {
  if (!record) return "none";
  return fmt::format("[{}/{} at {} us, LSN {}, correlation '{}', fingerprint {}, result '{}', source {}:{}:{}]",
                     record->scope, record->id, record->processed_at.time_since_epoch().count(), record->lsn.value,
                     record->correlation, record->fingerprint, record->result, record->source.name,
                     record->source.partition, record->source.offset);
}

/// All of an answer but the processed_at of what is fresh, which a local answer has no use for.
inline std::string shown(const remote::Answer& answer) {
  return fmt::format("{}, LSN {}, {}, record {}, owner until {}, token {}", to_string(answer.marked.verdict),
                     answer.marked.lsn.value, answer.marked.redelivered ? "redelivered" : "not redelivered",
                     shown(answer.record), answer.owner ? answer.owner->deadline.time_since_epoch().count() : 0,
                     answer.token);
}

}  // namespace oncelog::testing
