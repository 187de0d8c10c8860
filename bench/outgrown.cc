#include "outgrown.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "asking.h"
#include "report.h"
#include "scratch_store.h"

namespace oncelog::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRepetitions = 5;
constexpr std::size_t kRecent = 20'000;
constexpr std::chrono::seconds kPatience{60};

double seconds_of(const auto& work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::uint64_t hint_bytes(const Store& store) {
  const Metrics metrics = store.metrics();
  return metrics.index_bytes + metrics.filter_bytes;
}

bool healed(const Store& store) {
  const Metrics metrics = store.metrics();
  return metrics.live_buckets.back().index_tables == 1 && metrics.filter_generations == 1;
}

/// Which ids are asked for.
enum class Asked { fresh, duplicate, recent };

std::string name_of(Asked asked) {
  return asked == Asked::fresh ? "fresh" : asked == Asked::duplicate ? "duplicate" : "recent";
}

/// The two stores, and what is asked of them.
struct Pair {
  explicit Pair(const Settings& settings)
      : ids(0, settings.ids),
        fresh(std::uint64_t{6} << 40, settings.queries),
        known(ids.sample(settings.queries, 11)),
        recent(Ids(settings.ids - std::min(settings.ids, kRecent), std::min(settings.ids, kRecent))
                   .sample(settings.queries, 13)),
        live(settings.has_tmpfs() ? Live::tmpfs : Live::disk),
        planned(settings, live, settings.ids * ScratchStore::kBuckets),
        outgrown(settings, live, kDefaultExpectedIds) {
    planned_longest_ms = load(planned);
    load_seconds = seconds_of([&] { longest_ms = load(outgrown); });
    const Metrics metrics = outgrown.store().metrics();
    tables = metrics.live_buckets.back().index_tables;
    filters = metrics.filter_generations;
    heal_seconds = seconds_of([&] {
      const auto deadline = Clock::now() + kPatience;
      while (!healed(outgrown.store()) && Clock::now() < deadline) std::this_thread::yield();
    });
    // A table that is too large is replaced when it has been quiet for a while.
    settle_seconds = seconds_of([&] {
      const auto deadline = Clock::now() + kPatience;
      while (hint_ratio() > 1.5 && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds{10});
    });
  }

  double hint_ratio() const {
    return static_cast<double>(hint_bytes(outgrown.store())) / static_cast<double>(hint_bytes(planned.store()));
  }

  const Ids& asked(Asked which) const {
    return which == Asked::fresh ? fresh : which == Asked::duplicate ? known : recent;
  }

  const Ids ids;
  const Ids fresh;
  const Ids known;
  const Ids recent;
  const Live live;
  ScratchStore planned;
  ScratchStore outgrown;
  double load_seconds = 0;
  double heal_seconds = 0;
  double settle_seconds = 0;
  double planned_longest_ms = 0;
  double longest_ms = 0;
  std::uint64_t tables = 0;
  std::uint64_t filters = 0;

 private:
  /// One by one, as most do. Returns how long the longest mark took.
  double load(ScratchStore& store) {
    Clock::duration longest{};
    Clock::time_point last = Clock::now();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      benchmark::DoNotOptimize(store.scope().mark(ids[i]));
      const Clock::time_point now = Clock::now();
      longest = std::max(longest, now - last);
      last = now;
    }
    store.store().sync();
    return std::chrono::duration<double, std::milli>(longest).count();
  }
};

std::unique_ptr<Pair> pair;

Pair& stores(const Settings& settings) {
  if (!pair) pair = std::make_unique<Pair>(settings);
  return *pair;
}

void run_growth(benchmark::State& state, const Settings& settings) {
  for (auto _ : state) {
    const Pair& both = stores(settings);
    state.SetIterationTime(both.load_seconds);
    if (!healed(both.outgrown.store())) state.SkipWithError("the store has not healed");
    if (both.outgrown.store().metrics().ids != settings.ids) state.SkipWithError("the store does not hold the ids");
    state.counters["marks_per_s"] = static_cast<double>(settings.ids) / both.load_seconds;
    state.counters["tables_at_end"] = static_cast<double>(both.tables);
    state.counters["filters_at_end"] = static_cast<double>(both.filters);
    state.counters["heal_s"] = both.heal_seconds;
    state.counters["settle_s"] = both.settle_seconds;
    state.counters["hints_of_planned"] = both.hint_ratio();
    state.counters["longest_ms"] = both.longest_ms;
    state.counters["planned_longest_ms"] = both.planned_longest_ms;
  }
}

double seconds_to_ask(const ScratchStore& store, bool batches, const Ids& ids, std::size_t begin, std::size_t end,
                      std::size_t& known) {
  return seconds_of([&] { known += ask(store.scope(), {.mark = false, .batches = batches}, ids, begin, end); });
}

void run_query(benchmark::State& state, const Settings& settings, Asked asked, bool batches) {
  constexpr std::size_t kTurns = 20;
  const Pair& both = stores(settings);
  const Ids& ids = both.asked(asked);
  for (auto _ : state) {
    double planned = 0;
    double outgrown = 0;
    std::size_t known = 0;
    for (std::size_t turn = 0; turn < kTurns; ++turn) {
      const std::size_t begin = ids.size() * turn / kTurns;
      const std::size_t end = ids.size() * (turn + 1) / kTurns;
      planned += seconds_to_ask(both.planned, batches, ids, begin, end, known);
      outgrown += seconds_to_ask(both.outgrown, batches, ids, begin, end, known);
    }
    if (known != (asked == Asked::fresh ? 0 : 2 * ids.size())) state.SkipWithError("a wrong answer");
    state.SetIterationTime(planned + outgrown);
    state.counters["planned_ns"] = planned * 1e9 / static_cast<double>(ids.size());
    state.counters["outgrown_ns"] = outgrown * 1e9 / static_cast<double>(ids.size());
    state.counters["of_planned"] = outgrown / planned;
  }
}

}  // namespace

void register_outgrown(const Settings& settings) {
  const std::string of = fmt::format("of_ids:{}x36B/bucket:1/{}/beside:planned", settings.ids,
                                     name_of(settings.has_tmpfs() ? Live::tmpfs : Live::disk));
  add_row("outgrown/mark/one_by_one/" + of, 1, [&](benchmark::State& state) { run_growth(state, settings); });
  for (const Asked asked : {Asked::fresh, Asked::duplicate, Asked::recent}) {
    for (const bool batches : {false, true}) {
      add_row(fmt::format("outgrown/contains/{}/{}/{}", batches ? "batches:64" : "one_by_one", name_of(asked), of),
              kRepetitions,
              [&, asked, batches](benchmark::State& state) { run_query(state, settings, asked, batches); });
    }
  }
}

void unload_outgrown() {
  pair.reset();
}

}  // namespace oncelog::bench
