/// The whole store under measurement: marks, checks, sizes, stalls, scaling. Each name says the work, the threads, the
/// ids, the buckets, the acknowledgement and where the shared memory lies; beside each figure stand the machine's own
/// yardsticks, measured in the same run. At the end, the floors the store has to reach and what it did.
///
///   bench_store [--ids=N] [--queries=N] [--store-dir=DIR] [--tmpfs-dir=DIR] [--stall-ms=N] [Google Benchmark's
///   options]

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "asking.h"
#include "beside.h"
#include "duplicates.h"
#include "outgrown.h"
#include "reopen.h"
#include "report.h"
#include "scratch_store.h"
#include "settings.h"
#include "shared/shared_state.h"
#include "stalls.h"
#include "writers.h"
#include "yardstick.h"

namespace oncelog::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBuilds = 3;
constexpr int kLookUps = 5;
constexpr std::uint64_t kFreshFrom = std::uint64_t{1} << 40;
const std::string kSetName = "yardstick/unordered_set<string>/threads:1";

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// The ids of all benchmarks, made on first use, and what unordered_set takes for them.
class Workload {
 public:
  explicit Workload(const Settings& settings)
      : ids(0, settings.ids), fresh(kFreshFrom, settings.queries), known(ids.sample(settings.queries, 7)) {}

  const SetTimes& set_times() {
    if (!set_times_) set_times_ = SetTimes::measure(ids, fresh, known);
    return *set_times_;
  }

  const Ids ids;
  const Ids fresh;
  const Ids known;

 private:
  std::optional<SetTimes> set_times_;
};

/// What the benchmarks share.
class Bench {
 public:
  explicit Bench(Settings settings) : settings_(std::move(settings)) {}

  const Settings& settings() const { return settings_; }
  Workload& workload() {
    if (!workload_) workload_.emplace(settings_);
    return *workload_;
  }

  /// A store that holds all ids, on disk, in 8 buckets; the same for all that only look.
  ScratchStore& loaded(Live live) {
    auto& store = loaded_[live == Live::tmpfs ? 1 : 0];
    if (store) return *store;
    store = std::make_unique<ScratchStore>(settings_, live, settings_.ids);
    store->fill(settings_.ids, ScratchStore::kBuckets,
                [&](std::size_t begin, std::size_t end) { mark_batches(store->scope(), begin, end); });
    store->store().sync();
    // Maps the pages of data.mdb that a long-running process would have mapped.
    for (std::size_t i = 0; i < workload().known.size(); ++i)
      benchmark::DoNotOptimize(store->scope().contains(workload().known[i]));
    return *store;
  }
  void unload() {
    for (auto& store : loaded_) store.reset();
  }

  void mark_one_by_one(const Scope& scope, std::size_t begin, std::size_t end) {
    ask(scope, {.mark = true, .batches = false}, workload().ids, begin, end);
  }

  void mark_batches(const Scope& scope, std::size_t begin, std::size_t end) {
    ask(scope, {.mark = true, .batches = true}, workload().ids, begin, end);
  }

 private:
  Settings settings_;
  std::optional<Workload> workload_;
  std::unique_ptr<ScratchStore> loaded_[2];
};

/// How a store of all ids is built.
struct Build {
  bool batches;
  unsigned buckets;  // That the ids come to lie in; 1 with the default expected_ids, so that everything has to grow.
  Live live;
  unsigned threads = 1;

  std::string name(const Settings& settings) const {
    return fmt::format("mark/{}/fresh/threads:{}/ids:{}x36B/{}/ack:host/{}", batches ? "batches:64" : "one_by_one",
                       threads, settings.ids,
                       buckets == 1 ? std::string("bucket:1,outgrown") : fmt::format("buckets:{}", buckets),
                       name_of(live));
  }
};

/// `ns` and `marks_per_s` are until the last mark returned; `synced_per_s` until a final sync() did.
void run_build(benchmark::State& state, Bench& bench, const Build& build) {
  const Settings& settings = bench.settings();
  const SetTimes& set = bench.workload().set_times();
  const double dram_read_ns = DramChase::instance().read_ns();
  for (auto _ : state) {
    ScratchStore store(settings, build.live, build.buckets == 1 ? kDefaultExpectedIds : settings.ids);
    const auto mark = [&](std::size_t begin, std::size_t end) {
      if (build.batches) {
        bench.mark_batches(store.scope(), begin, end);
      } else {
        bench.mark_one_by_one(store.scope(), begin, end);
      }
    };
    const Clock::time_point begin = Clock::now();
    store.fill(settings.ids, build.buckets, [&](std::size_t first, std::size_t last) {
      std::vector<std::thread> helpers;
      const std::size_t share = (last - first) / build.threads;
      for (unsigned t = 1; t < build.threads; ++t)
        helpers.emplace_back(mark, first + (t - 1) * share, first + t * share);
      mark(first + (build.threads - 1) * share, last);
      for (std::thread& helper : helpers) helper.join();
    });
    const double marked = seconds_since(begin);
    store.store().sync();
    const double synced = seconds_since(begin);
    state.SetIterationTime(synced);

    const auto ids = static_cast<double>(settings.ids);
    const Metrics metrics = store.store().metrics();
    if (metrics.ids != settings.ids) state.SkipWithError("the store does not hold the ids that were marked");
    const auto shared =
        metrics.index_bytes + metrics.filter_bytes + metrics.ring_bytes + internal::SharedState::kHeaderBytes;
    put_yardsticks(state, marked * 1e9 / ids, dram_read_ns, set.insert_ns);
    state.counters["marks_per_s"] = ids / marked;
    state.counters["synced_per_s"] = ids / synced;
    state.counters["disk_B_per_id"] = static_cast<double>(metrics.data_bytes) / ids;
    state.counters["shared_B_per_id"] = static_cast<double>(shared) / ids;
    state.counters["live_buckets"] = static_cast<double>(metrics.live_buckets.size());
    state.counters["filters"] = static_cast<double>(metrics.filter_generations);
    state.counters["tables"] = static_cast<double>(metrics.live_buckets.back().index_tables);
    state.counters["longest_flush_ms"] = static_cast<double>(metrics.longest_flush.count()) / 1e3;
  }
}

/// Looking ids up in a store of all ids, or marking them again.
struct Query {
  bool mark;
  bool batches;
  bool known;
  Live live;

  Asking asking() const { return {mark, batches}; }
  std::string name(const Settings& settings) const {
    return fmt::format("{}/{}/{}/threads:1/of_ids:{}x36B/buckets:{}/{}", mark ? "mark" : "contains",
                       batches ? "batches:64" : "one_by_one", known ? "duplicate" : "fresh", settings.ids,
                       ScratchStore::kBuckets, name_of(live));
  }
};

void run_query(benchmark::State& state, Bench& bench, const Query& query) {
  const Scope& scope = bench.loaded(query.live).scope();
  const SetTimes& set = bench.workload().set_times();
  const Ids& ids = query.known ? bench.workload().known : bench.workload().fresh;
  const double dram_read_ns = DramChase::instance().read_ns();
  for (auto _ : state) {
    const Clock::time_point begin = Clock::now();
    const std::size_t known = ask(scope, query.asking(), ids, 0, ids.size());
    const double seconds = seconds_since(begin);
    state.SetIterationTime(seconds);
    if (known != (query.known ? ids.size() : 0)) state.SkipWithError("a wrong answer");
    put_yardsticks(state, seconds * 1e9 / static_cast<double>(ids.size()), dram_read_ns,
                   query.known ? set.known_ns : set.fresh_ns);
  }
}

/// Seconds that `threads` threads take, each work(thread), from a common start.
double seconds_of_threads(unsigned threads, const std::function<void(unsigned)>& work) {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> running;
  for (unsigned t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      ready.fetch_add(1);
      while (!go.load()) {
      }
      work(t);
    });
  }
  while (ready.load() != threads) std::this_thread::yield();
  const Clock::time_point begin = Clock::now();
  go.store(true);
  for (std::thread& thread : running) thread.join();
  return seconds_since(begin);
}

std::string scaling_name(const Settings& settings, bool known) {
  return fmt::format("scaling/contains/one_by_one/{}/threads:1,2/of_ids:{}x36B/buckets:{}/live:disk",
                     known ? "duplicate" : "fresh", settings.ids, ScratchStore::kBuckets);
}

/// Two threads against one, each with as many ids to ask, the two measured right after each other; and what the
/// machine's memory does then.
void run_scaling(benchmark::State& state, Bench& bench, bool known) {
  const Scope& scope = bench.loaded(Live::disk).scope();
  const Ids& ids = known ? bench.workload().known : bench.workload().fresh;
  const Query query{false, false, known, Live::disk};
  const std::size_t half = ids.size() / 2;
  const DramChase& chase = DramChase::instance();
  constexpr std::size_t kReads = std::size_t{1} << 18;
  const auto asking = [&](unsigned t) {
    benchmark::DoNotOptimize(ask(scope, query.asking(), ids, t * half, (t + 1) * half));
  };
  const auto chasing = [&](unsigned t) { benchmark::DoNotOptimize(chase.read_ns(kReads, t * 4099)); };
  for (auto _ : state) {
    const double one = seconds_of_threads(1, asking);
    const double two = seconds_of_threads(2, asking);
    state.SetIterationTime(one + two);
    state.counters["one_thread_ns"] = one * 1e9 / static_cast<double>(half);
    state.counters["two_threads_ns"] = two * 1e9 / static_cast<double>(half) / 2;
    state.counters["scaling"] = 2 * one / two;
    state.counters["dram_scaling"] = 2 * seconds_of_threads(1, chasing) / seconds_of_threads(2, chasing);
  }
}

std::string durable_name(unsigned threads, std::size_t batch) {
  return fmt::format("mark/{}/fresh/threads:{}/ids:2000x36B/ack:disk/live:disk",
                     batch == 1 ? "one_by_one" : fmt::format("batches:{}", batch), threads);
}

/// Marks that each wait for their fsync; the threads' fsyncs are one.
void run_durable(benchmark::State& state, Bench& bench, unsigned threads, std::size_t batch) {
  constexpr std::size_t kIds = 2000;
  for (auto _ : state) {
    ScratchStore store(bench.settings(), Live::disk, kDefaultExpectedIds);
    const Ids ids(std::uint64_t{3} << 40, kIds);
    std::vector<std::string_view> views;
    for (std::size_t i = 0; i < kIds; ++i) views.push_back(ids[i]);
    const double seconds = seconds_of_threads(threads, [&](unsigned t) {
      std::vector<Marked> marked(batch);
      const std::size_t end = kIds * (t + 1) / threads;
      for (std::size_t i = kIds * t / threads; i < end; i += batch) {
        const std::size_t count = std::min(batch, end - i);
        store.scope().mark(std::span(views).subspan(i, count), std::span(marked).first(count), Ack::disk);
      }
    });
    state.SetIterationTime(seconds);
    state.counters["ns"] = seconds * 1e9 / kIds;
    state.counters["marks_per_s"] = kIds / seconds;
    state.counters["fsyncs"] = static_cast<double>(store.store().metrics().flushes);
  }
}

std::vector<Live> places(const Settings& settings) {
  return settings.has_tmpfs() ? std::vector{Live::disk, Live::tmpfs} : std::vector{Live::disk};
}

void register_all(Bench& bench) {
  const Settings& settings = bench.settings();
  add_row(kSetName, 1, [&](benchmark::State& state) {
    for (auto _ : state) {
      const SetTimes& times = bench.workload().set_times();
      state.SetIterationTime(times.insert_ns * 1e-9 * static_cast<double>(settings.ids));
      state.counters["insert_ns"] = times.insert_ns;
      state.counters["fresh_ns"] = times.fresh_ns;
      state.counters["duplicate_ns"] = times.known_ns;
      state.counters["dram_read_ns"] = DramChase::instance().read_ns();
    }
  });
  const auto add_build = [&](const Build& build) {
    add_row(build.name(settings), kBuilds,
            [&bench, build](benchmark::State& state) { run_build(state, bench, build); });
  };
  for (const Live live : places(settings)) {
    add_build({false, ScratchStore::kBuckets, live});
    add_build({true, ScratchStore::kBuckets, live});
  }
  add_build({false, ScratchStore::kBuckets, Live::disk, 2});
  add_build({false, 1, Live::disk});
  add_build({true, 1, Live::disk});
  for (const unsigned threads : {1U, 2U}) {
    for (const std::size_t batch : {std::size_t{1}, kBatch}) {
      add_row(durable_name(threads, batch), kBuilds,
              [&bench, threads, batch](benchmark::State& state) { run_durable(state, bench, threads, batch); });
    }
  }
  for (const Live live : places(settings)) {
    for (const bool mark : {false, true}) {
      for (const bool known : {false, true}) {
        if (mark && !known) continue;
        for (const bool batches : {false, true}) {
          const Query query{mark, batches, known, live};
          add_row(query.name(settings), kLookUps,
                  [&bench, query](benchmark::State& state) { run_query(state, bench, query); });
        }
      }
    }
  }
  for (const bool known : {false, true}) {
    add_row(scaling_name(settings, known), kLookUps,
            [&bench, known](benchmark::State& state) { run_scaling(state, bench, known); });
  }
  register_duplicates(settings);
  register_beside(settings);
  register_outgrown(settings);
  register_reopen(settings);
  register_stalls(settings);
  register_writers(settings);
}

/// The floors, against the medians of what has just been measured.
void print_floors(const MedianReporter& reporter, const Settings& settings) {
  struct Floor {
    std::string work;
    std::string benchmark;
    std::string counter;
    double limit;  // 0: only reported.
    bool at_least;
    double unit;
    std::string unit_name;
  };
  const Build one{false, ScratchStore::kBuckets, Live::disk};
  const Build batch{true, ScratchStore::kBuckets, Live::disk};
  const auto contains = [&](bool batches, bool known) {
    return Query{false, batches, known, Live::disk}.name(settings);
  };
  std::vector<Floor> floors{
      {"mark, one by one, fsynced in the background", one.name(settings), "marks_per_s", 2, true, 1e6, "M/s"},
      {"mark, one by one, fsynced to the end", one.name(settings), "synced_per_s", 0, true, 1e6, "M/s"},
      {"mark, batches of 64, fsynced to the end", batch.name(settings), "synced_per_s", 4, true, 1e6, "M/s"},
      {"contains, fresh", contains(false, false), "ns", 200, false, 1, "ns"},
      {"contains, fresh, batches of 64", contains(true, false), "ns", 50, false, 1, "ns"},
      {"contains, duplicate", contains(false, true), "ns", 1100, false, 1, "ns"},
      {"contains, duplicate, batches of 64", contains(true, true), "ns", 0, false, 1, "ns"},
      {"data.mdb, a record", one.name(settings), "disk_B_per_id", 60, false, 1, "B"},
      {"shared memory, an id", one.name(settings), "shared_B_per_id", 18, false, 1, "B"},
      {"two threads against one, contains fresh", scaling_name(settings, false), "scaling", 1.8, true, 1, "x"},
      {"two threads against one, contains duplicate", scaling_name(settings, true), "scaling", 1.8, true, 1, "x"},
  };
  floors.push_back(
      {"claim begun and completed, against a mark", claim_name(settings, false), "per_mark", 2, false, 1, "x"});
  floors.push_back({"the same in batches of 64", claim_name(settings, true), "per_mark", 2, false, 1, "x"});
  floors.push_back({"run once, against a claim", once_name(settings), "per_claim", 1.2, false, 1, "x"});
  floors.push_back({"transact, mark and put, against LMDB alone", transact_name(), "of_lmdb", 0.8, true, 1, "x"});
  floors.push_back({"opened of data.mdb alone, records read and indexed", reopen_name(settings, Live::disk),
                    "records_per_s", 5, true, 1e6, "M/s"});
  floors.push_back(
      {"open after a reboot, nothing cached", reboot_name(settings, Live::disk), "ms", 1000, false, 1, "ms"});
  for (const bool full_speed : {true, false}) {
    const std::string pace = full_speed ? "full speed" : "paced";
    floors.push_back({"longest stall of a mark, " + pace + ", live on disk", stall_name(Live::disk, full_speed),
                      "max_ms", 0, false, 1, "ms"});
    floors.push_back({"longest stall of a mark, " + pace + ", live on tmpfs", stall_name(Live::tmpfs, full_speed),
                      "max_ms", 0, false, 1, "ms"});
    floors.push_back({"longest stall of only reading the clock, " + pace, machine_stall_name(full_speed), "max_ms", 0,
                      false, 1, "ms"});
  }
  fmt::print("\n{} ids of 36 bytes\n{:<58} | {:>12} | {:>17} | met?\n", settings.ids, "work", "floor",
             "measured (median)");
  for (const Floor& floor : floors) {
    const double* value = reporter.median(floor.benchmark, floor.counter);
    if (value == nullptr) continue;
    const double measured = *value / floor.unit;
    const bool met = floor.at_least ? measured >= floor.limit : measured <= floor.limit;
    const std::string limit =
        floor.limit == 0 ? "-" : fmt::format("{} {} {}", floor.at_least ? ">=" : "<=", floor.limit, floor.unit_name);
    fmt::print("{:<58} | {:>12} | {:>17} | {}\n", floor.work, limit,
               fmt::format("{:.2f} {}", measured, floor.unit_name), floor.limit == 0 ? "-" : (met ? "yes" : "NO"));
  }
}

/// Takes our own options out of the arguments; false when one is wrong.
bool parse(int& argc, char** argv, Settings& settings) {
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value_of = [&](const char* name) -> std::optional<std::string> {
      const std::string prefix = fmt::format("--{}=", name);
      if (!argument.starts_with(prefix)) return std::nullopt;
      return argument.substr(prefix.size());
    };
    try {
      if (const auto ids = value_of("ids")) {
        settings.ids = std::stoull(*ids);
      } else if (const auto queries = value_of("queries")) {
        settings.queries = std::stoull(*queries);
      } else if (const auto dir = value_of("store-dir")) {
        settings.store_dir = *dir;
      } else if (const auto tmpfs = value_of("tmpfs-dir")) {
        settings.tmpfs_dir = *tmpfs;
      } else if (const auto stall = value_of("stall-ms")) {
        settings.stall_time = std::chrono::milliseconds(std::stoll(*stall));
      } else {
        argv[kept++] = argv[i];
      }
    } catch (const std::exception&) {
      fmt::print(stderr, "not a number: {}\n", argument);
      return false;
    }
  }
  argc = kept;
  return settings.ids > 0 && settings.queries > 1;
}

int run(int argc, char** argv) {
  Settings settings;
  if (!parse(argc, argv, settings)) return 2;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  Bench bench(settings);
  register_all(bench);
  MedianReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  print_floors(reporter, settings);
  bench.unload();
  unload_duplicates();
  unload_outgrown();
  unload_reopen();
  benchmark::Shutdown();
  return 0;
}

}  // namespace
}  // namespace oncelog::bench

int main(int argc, char** argv) {
  return oncelog::bench::run(argc, argv);
}
