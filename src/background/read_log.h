#pragma once

#include <cstdint>
#include <filesystem>

#include "base/error.h"
#include "log/intact_record.h"
#include "log/log.h"

namespace oncelog::internal {

/// Calls visit(record, hash, lsn) for each record of the log, beginning with the block that holds `from`, or else with
/// the first block after it. Throws Error::corrupt at a damaged record; `directory` is the store's, for the error. By
/// one thread, some 10 million records a second from memory.
template <typename Visit>
void read_log(const lmdb::ReadTxn& txn, const std::filesystem::path& directory, Lsn from, std::uint64_t hash_seed,
              Visit visit) {
  for (auto block = Log::block_at(txn, from); block; block = Log::block_at(txn, block->end())) {
    for_each_record(block->bytes, block->lsn, hash_seed, visit, [&](Lsn lsn, lmdb::Bytes) {
      throw error_at(ErrorCode::corrupt, directory, "the record at LSN {} of data.mdb is damaged", lsn.value);
    });
  }
}

}  // namespace oncelog::internal
