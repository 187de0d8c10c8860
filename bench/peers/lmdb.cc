/// LMDB keyed by id, with the time as its value: what one would write without oncelog.
///
/// - One put with MDB_NOOVERWRITE a mark decides whether the id is fresh; a batch is one transaction.
/// - MDB_NOSYNC for marks that need not wait for the disk, with mdb_env_sync() once a second from a thread of its own;
///   without the flag for those that do. MDB_WRITEMAP would be faster, and lets a stray pointer damage the file.
/// - MDB_NOTLS and one read transaction for each caller, reset and renewed around each check, as is meant for handles
///   that several threads use. MDB_NORDAHEAD, as reads are random.
///
/// lmdb.h: mdb_env_open (flags), mdb_env_set_flags, mdb_env_sync, mdb_txn_reset, mdb_put

#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>

#include <chrono>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "peer.h"

namespace oncelog::bench {
namespace {

constexpr std::size_t kMapBytes = std::size_t{64} << 30;
constexpr unsigned kReaders = 256;
constexpr std::chrono::seconds kSyncEvery{1};

void expect(int code, const char* what) {
  if (code != MDB_SUCCESS) throw std::runtime_error(fmt::format("lmdb: {}: {}", what, mdb_strerror(code)));
}

MDB_val value_of(std::string_view bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};
}

class LmdbSession final : public Session {
 public:
  LmdbSession(MDB_env* env, MDB_dbi table) : env_(env), table_(table) {
    expect(mdb_txn_begin(env, nullptr, MDB_RDONLY, &reader_), "mdb_txn_begin");
    mdb_txn_reset(reader_);
  }
  ~LmdbSession() override { mdb_txn_abort(reader_); }

  bool check(std::string_view id) override { return check({&id, 1}) == 1; }
  std::size_t check(std::span<const std::string_view> ids) override {
    expect(mdb_txn_renew(reader_), "mdb_txn_renew");
    std::size_t known = 0;
    for (const std::string_view id : ids) {
      MDB_val key = value_of(id);
      MDB_val value;
      const int code = mdb_get(reader_, table_, &key, &value);
      if (code != MDB_NOTFOUND) expect(code, "mdb_get");
      known += code == MDB_SUCCESS;
    }
    mdb_txn_reset(reader_);
    return known;
  }
  bool mark(std::string_view id) override { return mark({&id, 1}) == 1; }
  std::size_t mark(std::span<const std::string_view> ids) override {
    std::size_t fresh = 0;
    std::int64_t now = std::time(nullptr);
    write([&](MDB_txn* txn) {
      for (const std::string_view id : ids) {
        MDB_val key = value_of(id);
        MDB_val value{sizeof now, &now};
        const int code = mdb_put(txn, table_, &key, &value, MDB_NOOVERWRITE);
        if (code != MDB_KEYEXIST) expect(code, "mdb_put");
        fresh += code == MDB_SUCCESS;
      }
    });
    return fresh;
  }
  void remove(std::span<const std::string_view> ids) override {
    write([&](MDB_txn* txn) {
      for (const std::string_view id : ids) {
        MDB_val key = value_of(id);
        const int code = mdb_del(txn, table_, &key, nullptr);
        if (code != MDB_NOTFOUND) expect(code, "mdb_del");
      }
    });
  }

 private:
  template <typename Work>
  void write(Work work) {
    MDB_txn* txn = nullptr;
    expect(mdb_txn_begin(env_, nullptr, 0, &txn), "mdb_txn_begin");
    work(txn);
    expect(mdb_txn_commit(txn), "mdb_txn_commit");
  }

  MDB_env* env_;
  MDB_dbi table_;
  MDB_txn* reader_ = nullptr;
};

class Lmdb final : public Peer {
 public:
  ~Lmdb() override { close_env(); }

  std::string version() const override {
    return fmt::format("{}.{}.{}", MDB_VERSION_MAJOR, MDB_VERSION_MINOR, MDB_VERSION_PATCH);
  }

  void open(const std::filesystem::path& directory, std::size_t) override {
    std::filesystem::create_directories(directory);
    expect(mdb_env_create(&env_), "mdb_env_create");
    expect(mdb_env_set_mapsize(env_, kMapBytes), "mdb_env_set_mapsize");
    expect(mdb_env_set_maxreaders(env_, kReaders), "mdb_env_set_maxreaders");
    expect(mdb_env_open(env_, directory.c_str(), MDB_NOSYNC | MDB_NOTLS | MDB_NORDAHEAD, 0644), "mdb_env_open");
    MDB_txn* txn = nullptr;
    expect(mdb_txn_begin(env_, nullptr, 0, &txn), "mdb_txn_begin");
    expect(mdb_dbi_open(txn, nullptr, 0, &table_), "mdb_dbi_open");
    expect(mdb_txn_commit(txn), "mdb_txn_commit");
    syncing_ = std::jthread([this](const std::stop_token& stop) { sync_until(stop); });
  }
  std::unique_ptr<Session> session(Sync sync) override {
    expect(mdb_env_set_flags(env_, MDB_NOSYNC, sync == Sync::background), "mdb_env_set_flags");
    return std::make_unique<LmdbSession>(env_, table_);
  }
  void close() override {
    stop_syncing();
    expect(mdb_env_sync(env_, 1), "mdb_env_sync");
    close_env();
  }

 private:
  void stop_syncing() {
    if (!syncing_.joinable()) return;
    syncing_.request_stop();
    syncing_.join();
  }
  void close_env() {
    stop_syncing();
    if (env_ != nullptr) mdb_env_close(env_);
    env_ = nullptr;
  }
  void sync_until(const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    while (!stopped.wait_for(lock, stop, kSyncEvery, [&] { return stop.stop_requested(); })) {
      expect(mdb_env_sync(env_, 1), "mdb_env_sync");
    }
  }

  MDB_env* env_ = nullptr;
  MDB_dbi table_ = 0;
  std::jthread syncing_;
};

}  // namespace

std::unique_ptr<Peer> make_lmdb() {
  return std::make_unique<Lmdb>();
}

}  // namespace oncelog::bench
