/// LevelDB: the id is the key, the time its value. A mark is a Get() and, where the id is fresh, a Put() that is not
/// synced unless the mark waits for the disk. There is no "put if absent" and no MultiGet(): the harness holds a mutex
/// of the id meanwhile, and a batch is a Get() each and one WriteBatch.
///
/// As its documentation advises for random reads: a Bloom filter of 10 bits a key, and a block cache (1 GiB here, as
/// RocksDB's). All else is its default: write buffers of 4 MiB, blocks of 4 KiB, Snappy.
///
/// github.com/google/leveldb: doc/index.md (Synchronous Writes, Concurrency, Cache, Filters)

#include <fmt/format.h>
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include <ctime>
#include <stdexcept>

#include "id_locks.h"
#include "peer.h"

namespace oncelog::bench {
namespace {

constexpr std::size_t kCacheBytes = std::size_t{1} << 30;
constexpr int kBloomBits = 10;

void expect(const leveldb::Status& status) {
  if (!status.ok()) throw std::runtime_error("leveldb: " + status.ToString());
}

leveldb::Slice slice_of(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

class LevelSession final : public Session {
 public:
  LevelSession(leveldb::DB& db, IdLocks& locks, Sync sync) : db_(db), locks_(locks) {
    write_.sync = sync == Sync::each;
  }

  bool check(std::string_view id) override {
    const leveldb::Status status = db_.Get({}, slice_of(id), &value_);
    if (!status.IsNotFound()) expect(status);
    return status.ok();
  }
  std::size_t check(std::span<const std::string_view> ids) override {
    std::size_t known = 0;
    for (const std::string_view id : ids) known += check(id);
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
    leveldb::WriteBatch batch;
    std::size_t fresh = 0;
    for (const std::string_view id : ids) {
      if (check(id)) continue;
      batch.Put(slice_of(id), now());
      ++fresh;
    }
    expect(db_.Write(write_, &batch));
    return fresh;
  }
  void remove(std::span<const std::string_view> ids) override {
    leveldb::WriteBatch gone;
    for (const std::string_view id : ids) gone.Delete(slice_of(id));
    expect(db_.Write(write_, &gone));
  }

 private:
  leveldb::Slice now() {
    time_ = std::time(nullptr);
    return {reinterpret_cast<const char*>(&time_), sizeof time_};
  }

  leveldb::DB& db_;
  IdLocks& locks_;
  leveldb::WriteOptions write_;
  std::string value_;
  std::int64_t time_ = 0;
};

class LevelDb final : public Peer {
 public:
  std::string version() const override { return fmt::format("{}.{}", leveldb::kMajorVersion, leveldb::kMinorVersion); }
  bool shared() const override { return false; }

  void open(const std::filesystem::path& directory, std::size_t) override {
    cache_.reset(leveldb::NewLRUCache(kCacheBytes));
    filter_.reset(leveldb::NewBloomFilterPolicy(kBloomBits));
    leveldb::Options options;
    options.create_if_missing = true;
    options.block_cache = cache_.get();
    options.filter_policy = filter_.get();
    leveldb::DB* db = nullptr;
    expect(leveldb::DB::Open(options, directory.string(), &db));
    db_.reset(db);
  }
  std::unique_ptr<Session> session(Sync sync) override { return std::make_unique<LevelSession>(*db_, locks_, sync); }
  void close() override { db_.reset(); }

 private:
  IdLocks locks_;
  std::unique_ptr<leveldb::Cache> cache_;
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::DB> db_;  // Uses both.
};

}  // namespace

std::unique_ptr<Peer> make_leveldb() {
  return std::make_unique<LevelDb>();
}

}  // namespace oncelog::bench
