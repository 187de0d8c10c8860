#include "log/log.h"

#include <cstring>

#include "parts.h"

using namespace oncelog;
using namespace oncelog::internal;
using namespace oncelog::testing;

namespace {

/// Appends a block filled with its LSN's low byte.
void append(Tables& tables, Lsn at, std::size_t bytes) {
  lmdb::WriteTxn txn(tables.env);
  const auto room = tables.log->append(txn, at, bytes);
  std::memset(room.data(), static_cast<int>(at.value & 0xFF), room.size());
  txn.commit();
}

struct Ends {
  std::optional<Lsn> begin;
  std::optional<Lsn> end;
};

Ends ends_of(const Tables& tables) {
  const lmdb::Txn txn(tables.env, MDB_RDONLY);
  return {tables.log->begin(txn), tables.log->end(txn)};
}

}  // namespace

TEST_CASE("an empty log has no beginning, no end and no bytes") {
  Tables tables;
  CHECK_FALSE(ends_of(tables).begin);
  CHECK_FALSE(ends_of(tables).end);
  lmdb::ReadTxn txn(tables.env, tables.log->dbi());
  const lmdb::ReadTxn::Active active(txn);
  CHECK_FALSE(Log::find(txn, Lsn{8}));
  CHECK_FALSE(Log::block_at(txn, Lsn{8}));
}

TEST_CASE("every LSN of a block is found in it, and those between blocks nowhere") {
  Tables tables;
  append(tables, Lsn{8}, 24);
  append(tables, Lsn{32}, 64);
  append(tables, Lsn{200}, 16);
  CHECK(ends_of(tables).begin == Lsn{8});
  CHECK(ends_of(tables).end == Lsn{216});
  lmdb::ReadTxn txn(tables.env, tables.log->dbi());
  const lmdb::ReadTxn::Active active(txn);
  for (std::uint64_t lsn = 0; lsn < 240; lsn += 8) {
    const std::uint64_t block = lsn < 32 ? 8 : lsn < 96 ? 32 : 200;
    const std::uint64_t end = block == 8 ? 32 : block == 32 ? 96 : 216;
    const bool inside = lsn >= block && lsn < end;
    const auto bytes = Log::find(txn, Lsn{lsn});
    CAPTURE(lsn);
    REQUIRE(bytes.has_value() == inside);
    if (inside) {
      CHECK(bytes->size() == end - lsn);
      CHECK(std::to_integer<std::uint64_t>((*bytes)[0]) == block);
    }
    const auto at = Log::block_at(txn, Lsn{lsn});
    REQUIRE(at.has_value() == (lsn < 216));
    if (at) CHECK(at->lsn.value == (lsn < 32 ? 8U : lsn < 96 ? 32U : 200U));
    if (at) CHECK(at->end().value == at->lsn.value + at->bytes.size());
  }
}

TEST_CASE("a block below the log's end is refused as damage") {
  Tables tables;
  append(tables, Lsn{64}, 64);
  CHECK(error_code_of([&] { append(tables, Lsn{120}, 8); }) == ErrorCode::corrupt);
  CHECK(error_code_of([&] { append(tables, Lsn{64}, 8); }) == ErrorCode::corrupt);
  CHECK(ends_of(tables).end == Lsn{128});
  append(tables, Lsn{128}, 8);
  CHECK(ends_of(tables).end == Lsn{136});
}

TEST_CASE("a walk over the log ends at an entry that is no block, and does not go round in circles") {
  Tables tables;
  append(tables, Lsn{8}, 24);
  const auto walk = [&](std::uint64_t key, std::size_t bytes) {
    {
      lmdb::WriteTxn txn(tables.env);
      txn.put(tables.log->dbi(), lmdb::to_val(key), lmdb::to_bytes(std::string(bytes, 'b')));
      txn.commit();
    }
    CHECK(error_code_of([&] { ends_of(tables); }) == ErrorCode::corrupt);
    lmdb::ReadTxn txn(tables.env, tables.log->dbi());
    const lmdb::ReadTxn::Active active(txn);
    CHECK(error_code_of([&] {
            for (auto block = Log::block_at(txn, Lsn{8}); block; block = Log::block_at(txn, block->end())) {
            }
          }) == ErrorCode::corrupt);
  };
  SUBCASE("without bytes") {
    walk(32, 0);
  }
  SUBCASE("of a part of a unit") {
    walk(32, 12);
  }
  SUBCASE("beyond the end of the stream") {
    walk(~std::uint64_t{7}, 24);
  }
  SUBCASE("between two records' places") {
    walk(36, 24);
  }
}

TEST_CASE("a largest block fills its overflow pages to the last byte") {
  Tables tables;
  const std::size_t bytes = Log::max_block_bytes(tables.env);
  for (std::uint64_t i = 0; i < 10; ++i) append(tables, Lsn{8 + i * bytes}, bytes);
  const lmdb::Txn txn(tables.env, MDB_RDONLY);
  CHECK(txn.stat(tables.log->dbi()).ms_overflow_pages == 10 * Log::kBlockPages);
  CHECK(bytes + Log::kRunHeaderBytes == Log::kBlockPages * tables.env.page_bytes());
  CHECK(bytes % kRecordUnit == 0);
}

TEST_CASE("trimming deletes whole blocks below the limit, so many at a time, and never the last one") {
  Tables tables;
  for (std::uint64_t i = 0; i < 10; ++i) append(tables, Lsn{8 + 64 * i}, 64);
  const auto trim = [&](Lsn limit, std::size_t most) {
    lmdb::WriteTxn txn(tables.env);
    const std::size_t deleted = tables.log->trim(txn, limit, most);
    txn.commit();
    return deleted;
  };
  CHECK(trim(Lsn{8}, 100) == 0);
  CHECK(trim(Lsn{8 + 63}, 100) == 0);  // Not the whole block is below.
  CHECK(trim(Lsn{8 + 3 * 64}, 2) == 2);
  CHECK(trim(Lsn{8 + 3 * 64}, 100) == 1);
  CHECK(ends_of(tables).begin == Lsn{8 + 3 * 64});
  CHECK(trim(Lsn{1 << 20}, 100) == 6);
  CHECK(ends_of(tables).begin == Lsn{8 + 9 * 64});
  CHECK(ends_of(tables).end == Lsn{8 + 10 * 64});
  const lmdb::Txn txn(tables.env, MDB_RDONLY);
  CHECK(tables.log->blocks(txn) == 1);
}
