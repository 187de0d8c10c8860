#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/host.h"
#include "remote/backend.h"

namespace oncelog::testing {

/// Calls of one id, each with an attempt of its own unless one is given.
inline internal::remote::Answer mark(internal::remote::Backend& store, std::string_view scope, std::string_view id,
                                     const Attributes& given = {},
                                     const internal::remote::Attempt& attempt = internal::random_uuid(),
                                     Ack ack = Ack::host) {
  const internal::remote::Ask ask{id, &given};
  internal::remote::Answer answer;
  store.mark(scope, {&ask, 1}, ack, attempt, {&answer, 1});
  return answer;
}

inline internal::remote::Answer claim(internal::remote::Backend& store, std::string_view scope, std::string_view id,
                                      const internal::remote::Terms& terms, const Attributes& given = {},
                                      const internal::remote::Attempt& attempt = internal::random_uuid()) {
  const internal::remote::Ask ask{id, &given};
  internal::remote::Answer answer;
  store.claim(scope, {&ask, 1}, terms, attempt, {&answer, 1});
  return answer;
}

inline Lsn complete(internal::remote::Backend& store, std::string_view scope, std::string_view id, std::uint64_t token,
                    const Attributes& given = {}, const internal::remote::Attempt& attempt = internal::random_uuid()) {
  const internal::remote::Held held{id, token, &given};
  internal::remote::Stamp stamp;
  store.complete(scope, {&held, 1}, Ack::host, attempt, {&stamp, 1});
  return stamp.lsn;
}

inline bool abandon(internal::remote::Backend& store, std::string_view scope, std::string_view id,
                    std::uint64_t token) {
  const internal::remote::Held held{id, token};
  return store.abandon(scope, {&held, 1}) == 1;
}

inline std::optional<Record> find(internal::remote::Backend& store, std::string_view scope, std::string_view id,
                                  bool whole = true) {
  std::optional<Record> record;
  store.find(scope, {&id, 1}, whole, {&record, 1});
  return record;
}

inline bool forget(internal::remote::Backend& store, std::string_view scope, std::string_view id,
                   const internal::remote::Attempt& attempt = internal::random_uuid()) {
  return store.forget(scope, id, Ack::host, attempt);
}

inline bool release(internal::remote::Backend& store, std::string_view scope, std::string_view id,
                    const internal::remote::Attempt& attempt = internal::random_uuid()) {
  return store.release(scope, id, attempt);
}

}  // namespace oncelog::testing
