/// Each structure of the store by itself, at the sizes it has in a store of 10 M ids of 36 bytes in 8 buckets. Beside
/// each figure: how many random DRAM reads it takes, and how many times longer std::unordered_set<std::string> takes
/// for the like.

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/message_hash.h"
#include "base/shared_memory.h"
#include "lmdb/handles.h"
#include "log/log.h"
#include "log/record_codec.h"
#include "log/ring.h"
#include "report.h"
#include "window/index.h"
#include "window/window_filter.h"
#include "workload.h"
#include "yardstick.h"

namespace oncelog::bench {
namespace {

using namespace internal;
using Steady = std::chrono::steady_clock;

constexpr std::size_t kIds = 1'250'000;  // Of one bucket.
constexpr unsigned kBuckets = 8;
constexpr std::uint64_t kSeed = 42;
constexpr std::uint64_t kRingBytes = std::uint64_t{16} << 20;
constexpr std::int64_t kTimeUs = 1'800'000'000'000'000;
constexpr int kRepetitions = 5;
constexpr std::size_t kRecordBytes = record_bytes(Ids::kBytes);
static_assert(kRecordBytes == 56);

/// The first bucket's ids and their hashes, made once.
struct Work {
  Ids ids{0, kIds};
  Ids fresh{std::uint64_t{1} << 40, kIds};
  Ids known = ids.sample(kIds, 7);
  std::vector<MessageHash> hashes = hashes_of(ids);
  std::vector<MessageHash> fresh_hashes = hashes_of(fresh);
  std::vector<MessageHash> known_hashes = hashes_of(known);
  SetTimes set = SetTimes::measure(ids, fresh, known);
  ScratchDir dir{std::filesystem::temp_directory_path()};

  static std::vector<MessageHash> hashes_of(const Ids& ids) {
    std::vector<MessageHash> hashes;
    hashes.reserve(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) hashes.emplace_back(kSeed, ids[i]);
    return hashes;
  }
};

Work& work() {
  static Work made;
  return made;
}

MappedFile touched_file(std::size_t bytes) {
  static unsigned number = 0;
  MappedFile file = MappedFile::create(work().dir.path() / std::to_string(number++), bytes);
  for (std::size_t at = 0; at < bytes; at += 4096) file.data()[at] = std::byte{0};
  return file;
}

/// A filter generation with all lanes of 8 buckets filled as planned.
FilterGeneration& filled_filter() {
  static const auto filter = [] {
    const std::uint64_t lines = FilterGeneration::lines_for(kIds);
    auto made = std::make_unique<FilterGeneration>(touched_file(FilterGeneration::file_bytes(lines)), lines);
    for (unsigned lane = 0; lane < kBuckets; ++lane) {
      const Ids ids(lane * kIds, kIds);
      for (std::size_t i = 0; i < ids.size(); ++i) made->add(MessageHash(kSeed, ids[i]), lane);
    }
    return made;
  }();
  return *filter;
}

std::unique_ptr<IndexTable> empty_index() {
  const std::uint64_t slots = IndexTable::slots_for(kIds);
  return std::make_unique<IndexTable>(touched_file(IndexTable::file_bytes(slots)), slots);
}

IndexTable& filled_index() {
  static const auto index = [] {
    auto made = empty_index();
    for (std::size_t i = 0; i < kIds; ++i) made->insert(work().hashes[i], MessageHash::Of::message, i);
    return made;
  }();
  return *index;
}

/// A ring in ordinary memory.
struct BenchRing {
  std::vector<std::uint64_t> words = std::vector<std::uint64_t>(kRingBytes / kRecordUnit);
  Watermarks marks{};
  std::atomic<std::uint64_t> cap{0};
  Ring ring{reinterpret_cast<std::atomic<std::uint64_t>*>(words.data()), kRingBytes, Lsn{0}, marks, cap};
};

/// Runs `once` over 0 .. count - 1 in each repetition, and reports the time of each; `set_ns` picks the time of
/// unordered_set to hold it against.
void add(const std::string& name, std::size_t count, const std::function<void(std::size_t)>& all,
         const std::function<double(const SetTimes&)>& set_ns = {}, const std::function<void()>& before = {}) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) {
                                 work();
                                 if (before) before();
                                 const double dram_read_ns = DramChase::instance().read_ns(std::size_t{1} << 17);
                                 for (auto _ : state) {
                                   const Steady::time_point begin = Steady::now();
                                   all(count);
                                   const double seconds = std::chrono::duration<double>(Steady::now() - begin).count();
                                   state.SetIterationTime(seconds);
                                   put_yardsticks(state, seconds * 1e9 / static_cast<double>(count), dram_read_ns,
                                                  set_ns ? set_ns(work().set) : 0);
                                 }
                               })
      ->Iterations(1)
      ->Repetitions(kRepetitions)
      ->ReportAggregatesOnly()
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

double insert_of(const SetTimes& times) {
  return times.insert_ns;
}
double fresh_of(const SetTimes& times) {
  return times.fresh_ns;
}
double known_of(const SetTimes& times) {
  return times.known_ns;
}

RecordDraft draft_of(std::size_t i) {
  return {.scope = 1, .id = work().ids[i], .digest = work().hashes[i].digest()};
}

void register_hash_and_codec() {
  add("message_hash/36B", kIds, [](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) benchmark::DoNotOptimize(MessageHash(kSeed, work().ids[i]));
  });
  add("record_codec/encode/36B", kIds, [](std::size_t count) {
    RecordBuffer buffer;
    for (std::size_t i = 0; i < count; ++i) {
      encode_record(buffer, draft_of(i), Lsn{i * kRecordBytes}, kTimeUs);
      benchmark::ClobberMemory();
    }
  });
  add("record_codec/decode_and_verify/36B", kIds, [](std::size_t count) {
    RecordBuffer buffer;
    const auto words = encode_record(buffer, draft_of(0), Lsn{8}, kTimeUs);
    for (std::size_t i = 0; i < count; ++i) {
      benchmark::ClobberMemory();
      const auto record = decode_plain(std::as_bytes(words));
      benchmark::DoNotOptimize(record && record->intact(Lsn{8}, work().hashes[0].digest()));
    }
  });
}

void register_ring() {
  const auto ring = std::make_shared<BenchRing>();
  add(fmt::format("ring/write/{}B/of:16MiB", kRecordBytes), kIds, [ring](std::size_t count) {
    const std::vector<std::uint64_t> record(kRecordBytes / kRecordUnit, 1);
    Lsn at = {ring->marks.writing.load()};
    for (std::size_t i = 0; i < count; ++i) {
      ring->ring.write(at, record);
      at.value += kRecordBytes;
    }
  });
  add(fmt::format("ring/read/random/{}B/of:16MiB", kRecordBytes), kIds, [ring](std::size_t count) {
    std::vector<std::uint64_t> record(kRecordBytes / kRecordUnit);
    constexpr std::uint64_t kRecords = kRingBytes / kRecordBytes;
    const std::uint64_t end = ring->marks.writing.load() / kRecordBytes;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t back = work().hashes[i].home(kRecords) + 1;
      benchmark::DoNotOptimize(ring->ring.read(Lsn{(end - back) * kRecordBytes}, record));
      benchmark::ClobberMemory();
    }
  });
}

void register_filter() {
  const std::string size =
      fmt::format("{}MiB", (FilterGeneration::file_bytes(FilterGeneration::lines_for(kIds)) + (1 << 19)) >> 20);
  const auto look = [](const std::vector<MessageHash>& hashes) {
    std::uint64_t seen = 0;
    for (const MessageHash& hash : hashes) seen += filled_filter().candidates(hash) != 0;
    benchmark::DoNotOptimize(seen);
  };
  add(
      "window_filter/candidates/fresh/8_lanes_of_1250000/" + size, kIds,
      [look](std::size_t) { look(work().fresh_hashes); }, fresh_of, [] { filled_filter(); });
  add(
      "window_filter/candidates/known/8_lanes_of_1250000/" + size, kIds,
      [look](std::size_t) { look(work().known_hashes); }, known_of, [] { filled_filter(); });
  add(
      "window_filter/add/1250000_to_an_empty_lane/" + size, kIds,
      [](std::size_t) {
        for (const MessageHash& hash : work().hashes) filled_filter().add(hash, kBuckets);
      },
      insert_of, [] { filled_filter().sweep(LaneMask{1} << kBuckets, 0, filled_filter().lines()); });
  add(
      "window_filter/sweep/a_line_of_64B", FilterGeneration::lines_for(kIds),
      [](std::size_t count) { filled_filter().sweep(LaneMask{1} << kBuckets, 0, count); }, {},
      [] {
        for (const MessageHash& hash : work().hashes) filled_filter().add(hash, kBuckets);
      });
}

void register_index() {
  const auto table = std::make_shared<std::unique_ptr<IndexTable>>();
  add(
      "index/insert/1250000_into_an_empty_table/14MiB", kIds,
      [table](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) (*table)->insert(work().hashes[i], MessageHash::Of::message, i);
      },
      insert_of, [table] { *table = empty_index(); });
  const auto look = [](const std::vector<MessageHash>& hashes) {
    std::uint64_t sum = 0;
    for (const MessageHash& hash : hashes) {
      filled_index().each(hash, MessageHash::Of::message, [&](std::uint64_t offset) { sum += offset; });
    }
    benchmark::DoNotOptimize(sum);
  };
  add(
      "index/each/known/of_1250000/70%_full/14MiB", kIds, [look](std::size_t) { look(work().known_hashes); }, known_of,
      [] { filled_index(); });
  add(
      "index/each/fresh/of_1250000/70%_full/14MiB", kIds, [look](std::size_t) { look(work().fresh_hashes); }, fresh_of,
      [] { filled_index(); });
}

/// A log of LMDB alone, filled with full blocks.
struct BenchLog {
  static constexpr std::size_t kBlocks = 4096;  // 256 MiB.

  ScratchDir dir{std::filesystem::temp_directory_path()};
  lmdb::Env env{dir.path(), MDB_NOTLS | MDB_NORDAHEAD, std::uint64_t{8} << 30, 16, 4};
  Log log = opened();
  std::vector<std::byte> block = std::vector<std::byte>(Log::max_block_bytes(env), std::byte{1});
  Lsn end{8};

  Log opened() {
    lmdb::WriteTxn txn(env);
    Log made(txn, MDB_CREATE);
    txn.commit();
    return made;
  }
  void append(std::size_t blocks) {
    lmdb::WriteTxn txn(env);
    for (std::size_t i = 0; i < blocks; ++i) {
      const auto room = log.append(txn, end, block.size());
      std::copy(block.begin(), block.end(), room.begin());
      end.value += block.size();
    }
    txn.commit();
  }
  static BenchLog& filled() {
    static BenchLog made;
    static const bool full = [] {
      for (std::size_t i = 0; i < kBlocks; i += 256) made.append(256);
      return true;
    }();
    benchmark::DoNotOptimize(full);
    return made;
  }
};

void register_log() {
  for (const std::size_t blocks : {std::size_t{1}, std::size_t{64}}) {
    add(
        fmt::format("log/append/a_64KiB_block/{}_a_commit/fsynced", blocks), 64,
        [blocks](std::size_t count) {
          for (std::size_t done = 0; done < count; done += blocks) BenchLog::filled().append(blocks);
        },
        {}, [] { BenchLog::filled(); });
  }
  constexpr std::size_t kFinds = 200'000;
  add(
      "log/find/random/of_256MiB", kFinds,
      [](std::size_t count) {
        BenchLog& log = BenchLog::filled();
        lmdb::ReadTxn txn(log.env, log.log.dbi());
        const lmdb::ReadTxn::Active active(txn);
        for (std::size_t i = 0; i < count; ++i) {
          const auto bytes = Log::find(txn, Lsn{8 + work().hashes[i].home(BenchLog::kBlocks * log.block.size() - 8)});
          benchmark::DoNotOptimize(bytes->front());
        }
      },
      {}, [] { BenchLog::filled(); });
  add(
      "lmdb/reader_renew_and_park", kFinds,
      [](std::size_t count) {
        BenchLog& log = BenchLog::filled();
        lmdb::ReadTxn txn(log.env, log.log.dbi());
        for (std::size_t i = 0; i < count; ++i) const lmdb::ReadTxn::Active active(txn);
      },
      {}, [] { BenchLog::filled(); });
}

void register_mutex_and_clock() {
  add("robust_mutex/lock_and_unlock/uncontended", kIds, [](std::size_t count) {
    alignas(64) RobustMutex mutex;
    mutex.initialise();
    for (std::size_t i = 0; i < count; ++i) {
      mutex.lock();
      mutex.unlock();
    }
  });
  static internal::ClockAnchor anchor{};
  anchor.offset_us.store(Host::system().wall_us() - Host::system().boot_us(), std::memory_order_relaxed);
  const auto clock = std::make_shared<internal::Clock>(Host::system(), anchor);
  add("clock/stamp_us", kIds, [clock](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) benchmark::DoNotOptimize(clock->stamp_us());
  });
  add("clock/retention_us", kIds, [clock](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) benchmark::DoNotOptimize(clock->retention_us());
  });
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  register_hash_and_codec();
  register_ring();
  register_filter();
  register_index();
  register_log();
  register_mutex_and_clock();
  MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  benchmark::Shutdown();
  return 0;
}

}  // namespace
}  // namespace oncelog::bench

int main(int argc, char** argv) {
  return oncelog::bench::run(argc, argv);
}
