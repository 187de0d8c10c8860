#include "stalls.h"

#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <memory>

#include "latencies.h"
#include "report.h"
#include "scratch_store.h"
#include "yardstick.h"

namespace oncelog::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr int kRepetitions = 3;
constexpr std::uint64_t kPacedPerSecond = 200'000;
constexpr unsigned kBuckets = 4;
// Real time: a bucket every 500 ms, the first of them dropped after two seconds and a half.
constexpr std::chrono::milliseconds kRetention{2000};
// A bucket every 5 s, so that the first one outgrows a plan for next to nothing a thousand times over.
constexpr std::chrono::milliseconds kOutgrownRetention{20'000};

std::string pace_name(bool full_speed) {
  return full_speed ? "full_speed" : fmt::format("paced:{}/s", kPacedPerSecond);
}

/// Does `work` to id after id until the time is over, and measures each by itself; begins again when the ids are over.
template <typename Work>
void measure(benchmark::State& state, const Ids& ids, std::chrono::milliseconds time, bool full_speed, Work work) {
  const auto latencies = std::make_unique<Latencies>();
  const Clock::time_point start = Clock::now();
  const Clock::time_point end = start + time;
  Clock::time_point before = start;
  for (std::size_t i = 0; before < end; ++i) {
    if (!full_speed) {
      const Clock::time_point due = start + nanoseconds(i * 1'000'000'000 / kPacedPerSecond);
      while (before < due) before = Clock::now();
    }
    work(ids[i % ids.size()]);
    const Clock::time_point after = Clock::now();
    latencies->record(static_cast<std::uint64_t>((after - before).count()));
    before = after;
  }
  const double seconds = std::chrono::duration<double>(before - start).count();
  state.SetIterationTime(seconds);
  state.counters["per_s"] = static_cast<double>(latencies->total()) / seconds;
  state.counters["p50_ns"] = latencies->quantile_ns(0.5);
  state.counters["p99_ns"] = latencies->quantile_ns(0.99);
  state.counters["p999_ns"] = latencies->quantile_ns(0.999);
  state.counters["p9999_ns"] = latencies->quantile_ns(0.9999);
  state.counters["max_ms"] = static_cast<double>(latencies->max_ns()) / 1e6;
}

std::size_t enough_ids(const Settings& settings, bool full_speed) {
  const auto seconds = std::chrono::duration<double>(settings.stall_time).count();
  const double per_second = full_speed ? 4e6 : static_cast<double>(kPacedPerSecond);
  return static_cast<std::size_t>(seconds * per_second);
}

const Ids& ids_for(const Settings& settings, bool full_speed) {
  const auto make = [&](bool fast) { return Ids(std::uint64_t{2} << 40, enough_ids(settings, fast)); };
  if (full_speed) {
    static const Ids many = make(true);
    return many;
  }
  static const Ids few = make(false);
  return few;
}

void measure_marks(benchmark::State& state, const Settings& settings, Live live, bool full_speed,
                   std::chrono::milliseconds retention, std::uint64_t expected) {
  const Ids& ids = ids_for(settings, full_speed);
  const double dram_read_ns = DramChase::instance().read_ns();
  for (auto _ : state) {
    ScratchStore store(settings, live, expected, retention, kBuckets);
    measure(state, ids, settings.stall_time, full_speed, [&](std::string_view id) { store.scope().mark(id); });
    const Metrics metrics = store.store().metrics();
    state.counters["dropped_buckets"] = static_cast<double>(metrics.expired_buckets);
    state.counters["flushes"] = static_cast<double>(metrics.flushes);
    state.counters["longest_flush_ms"] = static_cast<double>(metrics.longest_flush.count()) / 1e3;
  }
  state.counters["dram_read_ns"] = dram_read_ns;
}

std::string mark_name(const std::string& pace, std::chrono::milliseconds retention, const std::string& plan,
                      Live live) {
  return fmt::format("stall/mark/one_by_one/{}/threads:1/36B/retention:{}ms/buckets:{}/ack:host{}/{}", pace,
                     retention.count(), kBuckets, plan, name_of(live));
}

}  // namespace

std::string stall_name(Live live, bool full_speed) {
  return mark_name(pace_name(full_speed), kRetention, "", live);
}

std::string outgrown_stall_name(Live live) {
  return mark_name(pace_name(false), kOutgrownRetention, "/outgrown", live);
}

std::string machine_stall_name(bool full_speed) {
  return fmt::format("stall/clock_only/{}/threads:1", pace_name(full_speed));
}

void register_stalls(const Settings& settings) {
  for (const bool full_speed : {true, false}) {
    add_row(machine_stall_name(full_speed), kRepetitions, [=](benchmark::State& state) {
      for (auto _ : state) {
        measure(state, ids_for(settings, full_speed), settings.stall_time, full_speed,
                [](std::string_view id) { benchmark::DoNotOptimize(id); });
      }
    });
    for (const Live live : {Live::disk, Live::tmpfs}) {
      if (live == Live::tmpfs && !settings.has_tmpfs()) continue;
      add_row(stall_name(live, full_speed), kRepetitions, [=](benchmark::State& state) {
        const auto expected = static_cast<double>(enough_ids(settings, full_speed)) *
                              std::chrono::duration<double>(kRetention) /
                              std::chrono::duration<double>(settings.stall_time);
        measure_marks(state, settings, live, full_speed, kRetention, static_cast<std::uint64_t>(expected));
      });
      if (full_speed) continue;
      add_row(outgrown_stall_name(live), kRepetitions, [=](benchmark::State& state) {
        measure_marks(state, settings, live, full_speed, kOutgrownRetention, 1);
      });
    }
  }
}

}  // namespace oncelog::bench
