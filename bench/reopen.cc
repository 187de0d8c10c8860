#include "reopen.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>

#include "asking.h"
#include "background/sealer.h"
#include "report.h"
#include "scratch_store.h"
#include "workload.h"

namespace oncelog::bench {
namespace {

constexpr int kRepetitions = 3;
constexpr std::chrono::minutes kLongestSealing{5};

/// A store of all ids, made for the first repetition.
struct Filled {
  Filled(const Settings& settings, Live live) : ids(0, settings.ids), store(settings, live, settings.ids) {
    store.fill(ids.size(), ScratchStore::kBuckets, [&](std::size_t begin, std::size_t end) {
      ask(store.scope(), {.mark = true, .batches = true}, ids, begin, end);
    });
    store.store().sync();
  }

  const Ids ids;
  ScratchStore store;
};

std::unique_ptr<Filled> filled_on_disk;
std::unique_ptr<Filled> filled_on_tmpfs;

Filled& filled(const Settings& settings, Live live) {
  std::unique_ptr<Filled>& filled = live == Live::disk ? filled_on_disk : filled_on_tmpfs;
  if (!filled) filled = std::make_unique<Filled>(settings, live);
  return *filled;
}

/// Seconds until the store, which is closed, is open and has given its first two answers.
double seconds_to_open(benchmark::State& state, ScratchStore& store, const Ids& ids) {
  const auto begin = std::chrono::steady_clock::now();
  store.reopen();
  const bool known = store.scope().contains(ids[0]);
  const bool fresh = !store.scope().contains("never");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!known || !fresh || store.store().metrics().ids != ids.size()) state.SkipWithError("a wrong answer");
  return seconds;
}

/// After everything but data.mdb was lost.
double seconds_to_rebuild(benchmark::State& state, ScratchStore& store, const Ids& ids, unsigned processors) {
  store.close();
  store.remove_derived();
  store.host().set_processors(processors);
  return seconds_to_open(state, store, ids);
}

/// One thread and as many as there are, right after each other.
void run_rebuild(benchmark::State& state, const Settings& settings, Live live) {
  auto& [ids, store] = filled(settings, live);
  const unsigned all = internal::Host::system().processors();
  const auto records = static_cast<double>(ids.size());
  for (auto _ : state) {
    const double one = seconds_to_rebuild(state, store, ids, 1);
    const double seconds = seconds_to_rebuild(state, store, ids, all);
    state.SetIterationTime(seconds);
    state.counters["records_per_s"] = records / seconds;
    state.counters["records_per_s_of_one"] = records / one;
    state.counters["scaling"] = one / seconds;
    state.counters["processors"] = all;
  }
}

/// Waits until the hints of all buckets are on disk, as they are some seconds after the last mark.
void wait_until_sealed(benchmark::State& state, const Store& store) {
  const auto limit = std::chrono::steady_clock::now() + kLongestSealing;
  const auto is_left = [](const Metrics& metrics) {
    const auto large = std::ranges::count_if(
        metrics.live_buckets, [](const auto& bucket) { return bucket.ids >= internal::Sealer::kLeastEntries; });
    return metrics.sealed_buckets < static_cast<std::uint64_t>(large);
  };
  while (is_left(store.metrics())) {
    if (std::chrono::steady_clock::now() > limit) return state.SkipWithError("it is not sealed");
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }
}

/// After a reboot, everything from the disk; and once more, from the kernel's cache.
void run_reboot(benchmark::State& state, const Settings& settings, Live live) {
  auto& [ids, store] = filled(settings, live);
  for (auto _ : state) {
    wait_until_sealed(state, store.store());
    store.close();
    store.reboot();
    const double seconds = seconds_to_open(state, store, ids);
    wait_until_sealed(state, store.store());
    store.close();
    store.reboot(ScratchStore::Caches::kept);
    state.counters["cached_ms"] = 1e3 * seconds_to_open(state, store, ids);
    state.SetIterationTime(seconds);
    state.counters["ms"] = 1e3 * seconds;
    state.counters["records_per_s"] = static_cast<double>(ids.size()) / seconds;
  }
}

}  // namespace

std::string reboot_name(const Settings& settings, Live live) {
  return fmt::format("open/after_reboot/of_ids:{}x36B/buckets:{}/{}", settings.ids, ScratchStore::kBuckets,
                     name_of(live));
}

std::string reopen_name(const Settings& settings, Live live) {
  return fmt::format("open/of_data_mdb_alone/of_ids:{}x36B/buckets:{}/{}", settings.ids, ScratchStore::kBuckets,
                     name_of(live));
}

void unload_reopen() {
  filled_on_disk.reset();
  filled_on_tmpfs.reset();
}

void register_reopen(const Settings& settings) {
  for (const Live live : {Live::disk, Live::tmpfs}) {
    if (live == Live::tmpfs && !settings.has_tmpfs()) continue;
    add_row(reopen_name(settings, live), kRepetitions,
            [&settings, live](benchmark::State& state) { run_rebuild(state, settings, live); });
    add_row(reboot_name(settings, live), kRepetitions,
            [&settings, live](benchmark::State& state) { run_reboot(state, settings, live); });
  }
}

}  // namespace oncelog::bench
