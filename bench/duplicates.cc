#include "duplicates.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <string>

#include "asking.h"
#include "report.h"
#include "scratch_store.h"
#include "yardstick.h"

namespace oncelog::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kNewest = 100'000;
constexpr std::size_t kTurns = 20;
constexpr int kRepetitions = 5;

double seconds_of(const auto& work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// A store and a set of the same ids, and what is asked of them.
struct Pair {
  explicit Pair(const Settings& settings)
      : ids(0, settings.ids),
        any(ids.sample(settings.queries, 17)),
        newest(Ids(settings.ids - std::min(settings.ids, kNewest), std::min(settings.ids, kNewest))
                   .sample(settings.queries, 19)),
        store(settings, settings.has_tmpfs() ? Live::tmpfs : Live::disk, settings.ids),
        set(set_of(ids)) {
    store.fill(ids.size(), ScratchStore::kBuckets, [&](std::size_t begin, std::size_t end) {
      ask(store.scope(), {.mark = true, .batches = true}, ids, begin, end);
    });
    store.store().sync();
    // Maps the pages of data.mdb that a long-running process would have mapped.
    benchmark::DoNotOptimize(ask(store.scope(), {.mark = false, .batches = true}, any, 0, any.size()));
  }

  const Ids ids;
  const Ids any;
  const Ids newest;
  ScratchStore store;
  const StringSet set;
};

std::unique_ptr<Pair> pair;

void run(benchmark::State& state, const Settings& settings, bool newest, bool batches) {
  if (!pair) pair = std::make_unique<Pair>(settings);
  const Ids& ids = newest ? pair->newest : pair->any;
  const DramChase& dram = DramChase::instance();
  constexpr std::size_t kReads = std::size_t{1} << 14;
  for (auto _ : state) {
    double ours = 0;
    double theirs = 0;
    double dram_ns = 0;
    double overlapped_ns = 0;
    std::size_t known = 0;
    for (std::size_t turn = 0; turn < kTurns; ++turn) {
      const std::size_t begin = ids.size() * turn / kTurns;
      const std::size_t end = ids.size() * (turn + 1) / kTurns;
      ours +=
          seconds_of([&] { known += ask(pair->store.scope(), {.mark = false, .batches = batches}, ids, begin, end); });
      theirs += seconds_of([&] {
        for (std::size_t i = begin; i < end; ++i) known += pair->set.contains(ids[i]) ? 1 : 0;
      });
      dram_ns += dram.read_ns(kReads) / kTurns;
      overlapped_ns += dram.overlapped_read_ns(kReads) / kTurns;
    }
    if (known != 2 * ids.size()) state.SkipWithError("a wrong answer");
    state.SetIterationTime(ours);
    const double ns = ours * 1e9 / static_cast<double>(ids.size());
    state.counters["set_ns"] = theirs * 1e9 / static_cast<double>(ids.size());
    state.counters["of_set"] = ours / theirs;
    state.counters["overlapped_read_ns"] = overlapped_ns;
    state.counters["overlapped_reads"] = ns / overlapped_ns;
    put_yardsticks(state, ns, dram_ns);
  }
}

}  // namespace

void register_duplicates(const Settings& settings) {
  for (const bool newest : {false, true}) {
    for (const bool batches : {false, true}) {
      add_row(
          fmt::format("duplicate/contains/{}/{}/of_ids:{}x36B/buckets:{}/{}/beside:unordered_set",
                      batches ? "batches:64" : "one_by_one", newest ? fmt::format("newest:{}", kNewest) : "any",
                      settings.ids, ScratchStore::kBuckets, name_of(settings.has_tmpfs() ? Live::tmpfs : Live::disk)),
          kRepetitions,
          [&settings, newest, batches](benchmark::State& state) { run(state, settings, newest, batches); });
    }
  }
}

void unload_duplicates() {
  pair.reset();
}

}  // namespace oncelog::bench
