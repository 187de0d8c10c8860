/// oncelog as anyone opens it: default options, but for a retention of 80 days, so that what a run takes is no part of
/// it, and 10 buckets, so that one of them is the tenth that expires. Its plan is the default one, for a million ids:
/// a larger load outgrows it. `oncelog-planned` is told how many ids will come.
///
/// Nothing else is set, as options.h advises: "None of these is needed for correctness". The clock is the system's plus
/// the time that the harness lets pass, which is kept beside the store for other processes.

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>

#include <oncelog/oncelog.h>

#include "api/store_access.h"
#include "peer.h"
#include "process.h"
#include "workload.h"

namespace oncelog::bench {
namespace {

using std::chrono::microseconds;

constexpr std::chrono::hours kRetention{24 * 80};
constexpr unsigned kBuckets = 10;
constexpr std::size_t kBatch = 256;

/// The host of a store that chooses by itself where its shared memory lies.
class SteppedHost final : public HurriedHost {
 public:
  std::optional<internal::BootTmpfs> boot_tmpfs(uid_t owner) const override { return system().boot_tmpfs(owner); }
};

class OncelogSession final : public Session {
 public:
  OncelogSession(const Store& store, Ack ack) : scope_(store.scope("bench")), ack_(ack) {}

  bool check(std::string_view id) override { return scope_.contains(id); }
  std::size_t check(std::span<const std::string_view> ids) override {
    std::array<bool, kBatch> known;
    scope_.contains(ids, std::span(known).first(ids.size()));
    std::size_t count = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) count += known[i];
    return count;
  }
  bool mark(std::string_view id) override { return scope_.mark(id, ack_) == Verdict::fresh; }
  std::size_t mark(std::span<const std::string_view> ids) override {
    std::array<Marked, kBatch> marked;
    scope_.mark(ids, std::span(marked).first(ids.size()), ack_);
    std::size_t fresh = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) fresh += marked[i] == Verdict::fresh;
    return fresh;
  }
  void remove(std::span<const std::string_view> ids) override {
    for (const std::string_view id : ids) scope_.forget(id, Ack::host);
  }

 private:
  Scope scope_;
  Ack ack_;
};

class Oncelog final : public Peer {
 public:
  explicit Oncelog(bool planned) : planned_(planned) {}

  std::string version() const override { return ONCELOG_VERSION; }
  std::size_t batch() const override { return kBatch; }

  void open(const std::filesystem::path& directory, std::size_t ids) override {
    std::filesystem::create_directories(directory);
    clock_file_ = directory / "ahead_us";
    if (!std::filesystem::exists(clock_file_)) begin_slice();
    open_store(directory, ids);
  }
  void attach(const std::filesystem::path& directory, std::size_t ids) override {
    std::int64_t ahead = 0;
    if (!(std::ifstream(directory / "ahead_us") >> ahead)) throw std::runtime_error("oncelog: no clock to follow");
    host_.advance(microseconds(ahead - host_.ahead_us()));
    open_store(directory, ids);
  }
  std::unique_ptr<Session> session(Sync sync) override {
    return std::make_unique<OncelogSession>(*store_, sync == Sync::each ? Ack::disk : Ack::host);
  }
  void close() override {
    store_->sync();
    store_.reset();
  }
  void reboot() override { host_.boot(); }

  void pass_time(double share) override {
    host_.advance(
        microseconds(static_cast<std::int64_t>(share * static_cast<double>(microseconds(kRetention).count()))));
    std::ofstream(clock_file_) << host_.ahead_us();
  }
  void expire(std::span<const std::string_view>) override {
    // The load took all of the retention: the first bucket is past it a bucket's time and a little later.
    pass_time(1.12 / kBuckets);
    store_->expire();
  }

  std::uint64_t memory_bytes() const override {
    const Metrics metrics = store_->metrics();
    return memory_of_self() + metrics.index_bytes + metrics.filter_bytes + metrics.ring_bytes;
  }

 private:
  /// Steps to where a bucket's time begins.
  void begin_slice() {
    constexpr microseconds kSlice = microseconds(kRetention) / kBuckets;
    host_.advance(kSlice - microseconds(host_.wall_us()) % kSlice);
    std::ofstream(clock_file_) << host_.ahead_us();
  }
  void open_store(const std::filesystem::path& directory, std::size_t ids) {
    Options options;
    options.retention = kRetention;
    options.buckets = kBuckets;
    if (planned_) options.expected_ids = ids;
    store_.emplace(StoreAccess::open(directory / "store", options, host_));
  }

  bool planned_;
  SteppedHost host_;
  std::filesystem::path clock_file_;
  std::optional<Store> store_;
};

}  // namespace

std::unique_ptr<Peer> make_oncelog(bool planned) {
  return std::make_unique<Oncelog>(planned);
}

}  // namespace oncelog::bench
