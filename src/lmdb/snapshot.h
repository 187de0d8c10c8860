#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "lmdb/handles.h"
#include "lmdb/pages.h"

namespace oncelog::internal::lmdb {

/// Joins lmdb::Pages with an open environment: a commit's pages stay as they are for as long as a read transaction sees
/// it. LMDB itself looks at no other pages for that than the meta pages. Any thread.

/// The meta page of the commit that the read transaction sees; nothing when it has been written over since: then two
/// commits came in between, and the transaction has to be begun again. It is read twice, because it may just be
/// written.
inline std::optional<Meta> meta_of(const Pages& pages, std::uint64_t transaction) {
  const auto which = static_cast<unsigned>(transaction % 2);
  const Meta meta = pages.meta(which);
  const Meta again = pages.meta(which);
  const bool same = meta.transaction == again.transaction && meta.last_page == again.last_page &&
                    meta.main.root == again.main.root && meta.free.root == again.free.root;
  return same && meta.transaction == transaction ? std::optional(meta) : std::nullopt;
}

/// Calls body(pages, meta) while a read transaction pins the pages of that commit.
template <typename Body>
auto with_snapshot(const Env& env, const std::filesystem::path& data, Body body) {
  constexpr unsigned kTries = 1000;
  for (unsigned tries = 1;; ++tries) {
    const Txn txn(env, MDB_RDONLY);
    mdb_filehandle_t file = -1;
    env.check(mdb_env_get_fd(env.get(), &file), "mdb_env_get_fd");
    const Pages pages(file, data);
    if (const auto meta = meta_of(pages, mdb_txn_id(txn.get()))) return body(pages, *meta);
    if (tries == kTries) {
      throw error_at(ErrorCode::corrupt, data,
                     "neither meta page is of the commit that LMDB takes for the newest; close the store "
                     "in every process, and verify it again");
    }
  }
}

}  // namespace oncelog::internal::lmdb
