#include "background/log_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace oncelog::internal {
namespace {

struct BucketGain {
  std::uint64_t entries = 0;
  std::int64_t newest_us = 0;
};

/// The position in the layout, at or after `from`, of the bucket that `lsn` belongs to; bucket_count when it is older
/// than all buckets.
unsigned bucket_of(const Layout& layout, Lsn lsn, unsigned from) {
  if (layout.empty() || lsn < layout.buckets[0].first_lsn) return layout.bucket_count;
  while (from + 1 < layout.bucket_count && layout.buckets[from + 1].first_lsn <= lsn) ++from;
  return from;
}

}  // namespace

bool keep_forgotten(lmdb::WriteTxn& txn, const Catalog& catalog, const SharedHeader& live, const Layout& layout) {
  bool changed = catalog.drop_buckets_below(txn, layout.empty() ? layout.next_bucket : layout.buckets[0].number) != 0;
  // Acquire: pairs with the release by Upkeep. Read after the layout, so that it covers every bucket that is missing
  // there.
  const auto since_us = static_cast<std::uint64_t>(live.known_since_us.load(std::memory_order_acquire));
  // Also if it is lower: a value that lay in the future was a clock's fault.
  if (since_us != catalog.number(txn, Catalog::Number::known_since_us)) {
    catalog.put_number(txn, Catalog::Number::known_since_us, since_us);
    changed = true;
  }
  return changed;
}

void write_log(lmdb::WriteTxn& txn, const Log& log, const Catalog& catalog, const SharedHeader& live, const Ring& ring,
               const Layout& layout, Lsn from, Lsn to,
               const std::function<void(std::span<std::byte> block, Lsn lsn)>& settle) {
  keep_forgotten(txn, catalog, live, layout);
  write_records(txn, log, catalog, ring, layout, from, to, settle);
}

void write_records(lmdb::WriteTxn& txn, const Log& log, const Catalog& catalog, const Ring& ring, const Layout& layout,
                   Lsn from, Lsn to, const std::function<void(std::span<std::byte> block, Lsn lsn)>& settle) {
  // Under a cap blocks have one page each, so that any free page will do, however scattered they are.
  const std::size_t max_block = Log::max_block_bytes(txn.env(), ring.capped() ? 1 : Log::kBlockPages);
  std::array<BucketGain, kMaxLiveBuckets> gains;
  unsigned bucket = 0;
  Lsn at = from;
  while (at < to) {
    const Lsn block = at;
    std::size_t block_bytes = 0;
    while (at < to) {
      const RecordHeader header = ring.stable_header(at);
      const std::size_t bytes = header.bytes();
      const bool uncommitted = (header.flags() & kUncommitted) != 0;
      if (!header.well_formed() || bytes > to.value - at.value || (uncommitted && !settle)) {
        throw error_at(ErrorCode::corrupt, txn.env().path(), "the shared memory holds no record at LSN {}", at.value);
      }
      if (block_bytes != 0 && block_bytes + bytes > max_block) break;
      if (const unsigned found = bucket_of(layout, at, bucket); found != layout.bucket_count) {
        bucket = found;
        gains[bucket].entries += header.has_attributes() ? 2 : 1;
        gains[bucket].newest_us = std::max(gains[bucket].newest_us, header.time_us());
      }
      block_bytes += bytes;
      at.value += bytes;
    }
    const std::span<std::byte> bytes = log.append(txn, block, block_bytes);
    ring.copy_stable(block, bytes);
    if (settle) settle(bytes, block);
  }
  for (unsigned i = 0; i < layout.bucket_count; ++i) {
    if (gains[i].entries == 0) continue;
    const BucketInfo& info = layout.buckets[i];
    BucketRow row =
        catalog.bucket(txn, info.number).value_or(BucketRow{info.first_lsn.value, info.slice_begin_us, 0, 0});
    row.entries += gains[i].entries;
    row.newest_us = std::max(row.newest_us, gains[i].newest_us);
    catalog.put_bucket(txn, info.number, row);
  }
}

void write_something(lmdb::WriteTxn& txn, const Catalog& catalog) {
  if (const auto identity = catalog.identity(txn)) catalog.put_identity(txn, *identity);
}

}  // namespace oncelog::internal
