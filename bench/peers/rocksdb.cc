/// RocksDB: the id is the key, the time its value. A mark is a Get() and, where the id is fresh, a Put() into the
/// write-ahead log, which is not synced unless the mark waits for the disk. RocksDB has no "put if absent", so that the
/// harness holds a mutex of the id meanwhile; a batch is a MultiGet() and one WriteBatch.
///
/// As the page "Setup Options and Basic Tuning" of its wiki advises for most: a Bloom filter of 10 bits a key, a block
/// cache (1 GiB here; "a third of memory" there), blocks of 16 KiB, index and filter blocks in the cache with those of
/// level 0 pinned, the newest table format that has all that, level_compaction_dynamic_level_bytes, bytes_per_sync of
/// 1 MiB, compactions by kMinOverlappingRatio, and LZ4 with ZSTD for the last level. Background jobs: one for each
/// processor, by IncreaseParallelism(). All else is RocksDB's default: write buffers of 64 MiB, the WAL on.
///
/// github.com/facebook/rocksdb/wiki: Setup-Options-and-Basic-Tuning, RocksDB-Bloom-Filter, WAL-Performance, MultiGet

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/version.h>
#include <rocksdb/write_batch.h>

#include <array>
#include <ctime>
#include <stdexcept>
#include <thread>

#include "id_locks.h"
#include "peer.h"

namespace oncelog::bench {
namespace {

constexpr std::size_t kCacheBytes = std::size_t{1} << 30;
constexpr double kBloomBits = 10;

void expect(const rocksdb::Status& status) {
  if (!status.ok()) throw std::runtime_error("rocksdb: " + status.ToString());
}

rocksdb::Slice slice_of(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

class RocksSession final : public Session {
 public:
  RocksSession(rocksdb::DB& db, IdLocks& locks, Sync sync) : db_(db), locks_(locks) {
    write_.sync = sync == Sync::each;
  }

  bool check(std::string_view id) override {
    const rocksdb::Status status = db_.Get(read_, db_.DefaultColumnFamily(), slice_of(id), &value_);
    value_.Reset();
    if (!status.IsNotFound()) expect(status);
    return status.ok();
  }
  std::size_t check(std::span<const std::string_view> ids) override {
    find(ids);
    std::size_t known = 0;
    for (const rocksdb::Status& status : found_) known += status.ok();
    return known;
  }
  bool mark(std::string_view id) override {
    const auto lock = locks_.of(id);
    if (check(id)) return false;
    expect(db_.Put(write_, slice_of(id), now()));
    return true;
  }
  std::size_t mark(std::span<const std::string_view> ids) override {
    const std::lock_guard lock(locks_);
    find(ids);
    rocksdb::WriteBatch fresh;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (found_[i].IsNotFound()) expect(fresh.Put(slice_of(ids[i]), now()));
    }
    expect(db_.Write(write_, &fresh));
    return static_cast<std::size_t>(fresh.Count());
  }
  void remove(std::span<const std::string_view> ids) override {
    rocksdb::WriteBatch gone;
    for (const std::string_view id : ids) expect(gone.Delete(slice_of(id)));
    expect(db_.Write(write_, &gone));
  }

 private:
  rocksdb::Slice now() {
    time_ = std::time(nullptr);
    return {reinterpret_cast<const char*>(&time_), sizeof time_};
  }
  void find(std::span<const std::string_view> ids) {
    keys_.clear();
    for (const std::string_view id : ids) keys_.push_back(slice_of(id));
    values_.resize(keys_.size());
    found_.resize(keys_.size());
    db_.MultiGet(read_, db_.DefaultColumnFamily(), keys_.size(), keys_.data(), values_.data(), found_.data());
    for (rocksdb::PinnableSlice& value : values_) value.Reset();
    for (const rocksdb::Status& status : found_) {
      if (!status.IsNotFound()) expect(status);
    }
  }

  rocksdb::DB& db_;
  IdLocks& locks_;
  rocksdb::ReadOptions read_;
  rocksdb::WriteOptions write_;
  rocksdb::PinnableSlice value_;
  std::vector<rocksdb::Slice> keys_;
  std::vector<rocksdb::PinnableSlice> values_;
  std::vector<rocksdb::Status> found_;
  std::int64_t time_ = 0;
};

class RocksDb final : public Peer {
 public:
  std::string version() const override { return fmt::format("{}.{}.{}", ROCKSDB_MAJOR, ROCKSDB_MINOR, ROCKSDB_PATCH); }
  bool shared() const override { return false; }

  void open(const std::filesystem::path& directory, std::size_t) override {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(kCacheBytes);
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBits));
    table.block_size = 16 << 10;
    table.cache_index_and_filter_blocks = true;
    table.pin_l0_filter_and_index_blocks_in_cache = true;
    table.format_version = 5;

    rocksdb::Options options;
    options.create_if_missing = true;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.level_compaction_dynamic_level_bytes = true;
    options.bytes_per_sync = 1 << 20;
    options.compaction_pri = rocksdb::kMinOverlappingRatio;
    options.compression = rocksdb::kLZ4Compression;
    options.bottommost_compression = rocksdb::kZSTD;
    options.IncreaseParallelism(static_cast<int>(std::thread::hardware_concurrency()));
    rocksdb::DB* db = nullptr;
    expect(rocksdb::DB::Open(options, directory.string(), &db));
    db_.reset(db);
  }
  std::unique_ptr<Session> session(Sync sync) override { return std::make_unique<RocksSession>(*db_, locks_, sync); }
  void close() override {
    expect(db_->Close());
    db_.reset();
  }

 private:
  IdLocks locks_;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace

std::unique_ptr<Peer> make_rocksdb() {
  return std::make_unique<RocksDb>();
}

}  // namespace oncelog::bench
