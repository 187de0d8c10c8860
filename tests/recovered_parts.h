#pragma once

#include <string_view>

#include "parts.h"

namespace oncelog::testing {

inline bool knows(Parts& parts, std::string_view id) {
  internal::BlockDirectory directory;
  internal::Reader reader(parts.tables.env, *parts.tables.log, directory, parts.header(), parts.live->ring(),
                          *parts.views);
  return reader.look(reader.view(), parts.probe(id)).has_value();
}

inline internal::FileStamp stamp_of(const Parts& parts) {
  return parts.live->stamp_for(internal::FileKind::live, 0, 0, 0, 0);
}

/// Has the header say that the shared memory was never finished.
inline void contradict_header(Parts& parts) {
  parts.header().ready.store(0);
}

}  // namespace oncelog::testing
