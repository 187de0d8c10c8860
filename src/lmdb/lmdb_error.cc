#include "lmdb/lmdb_error.h"

#include <lmdb.h>

#include "base/error.h"

namespace oncelog::internal::lmdb {

Error make_error(int code, const char* call, const std::filesystem::path& path) {
  const char* reason = mdb_strerror(code);
  switch (code) {
    case MDB_MAP_FULL:
      return error_at(ErrorCode::full, path, "data.mdb has filled its map; open the store with a larger map_bytes");
    case MDB_MAP_RESIZED:
      return error_at(
          ErrorCode::full, path,
          "data.mdb has outgrown this process's map_bytes; open the store with the map_bytes that they have");
    case MDB_READERS_FULL:
      return error_at(ErrorCode::too_many_readers, path,
                      "more threads read at once than max_readers; open the store with a larger one");
    case MDB_INVALID:
      return error_at(ErrorCode::not_a_store, path, "data.mdb is not an LMDB file of this format");
    case MDB_VERSION_MISMATCH:
      return error_at(ErrorCode::newer_format, path, "data.mdb has another LMDB version's format");
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
      return error_at(ErrorCode::corrupt, path, "data.mdb is damaged ({}: {})", call, reason);
    case MDB_PANIC:
      return error_at(
          ErrorCode::io, path,
          "LMDB refuses data.mdb after a write of it failed ({}); nothing that was acknowledged is lost, and the "
          "next call opens it again",
          call);
    default:
      if (code > 0) return system_error(code, call, path);
      return error_at(ErrorCode::io, path, "{} failed: {}", call, reason);
  }
}

}  // namespace oncelog::internal::lmdb
