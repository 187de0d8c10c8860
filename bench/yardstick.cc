#include "yardstick.h"

#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace oncelog::bench {
namespace {

template <typename Work>
double ns_each(std::size_t count, Work work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count() /
         static_cast<double>(count);
}

double look_up_ns(const StringSet& set, const Ids& ids) {
  return ns_each(ids.size(), [&] {
    for (std::size_t i = 0; i < ids.size(); ++i) benchmark::DoNotOptimize(set.contains(ids[i]));
  });
}

}  // namespace

const DramChase& DramChase::instance() {
  static const DramChase chase;
  return chase;
}

DramChase::DramChase() : lines_(std::make_unique<Line[]>(kLines)) {
  // Sattolo's algorithm: a random permutation that is one cycle.
  for (std::size_t i = 0; i < kLines; ++i) lines_[i].next = i;
  std::mt19937_64 random(1);
  for (std::size_t i = kLines - 1; i > 0; --i) std::swap(lines_[i].next, lines_[random() % i].next);
}

double DramChase::read_ns(std::size_t reads, std::size_t start) const {
  // Another line each time, so that no earlier call has left the way in the caches.
  static std::atomic<std::uint64_t> calls{0};
  std::uint64_t at = (start + calls.fetch_add(0x9E3779B97F4A7C15ULL, std::memory_order_relaxed)) % kLines;
  return ns_each(reads, [&] {
    for (std::size_t i = 0; i < reads; ++i) at = lines_[at].next;
    benchmark::DoNotOptimize(at);
  });
}

double DramChase::overlapped_read_ns(std::size_t reads) const {
  constexpr std::size_t kBatch = 64;
  // As in read_ns.
  static std::atomic<std::uint64_t> calls{0};
  std::mt19937_64 random(calls.fetch_add(1, std::memory_order_relaxed));
  std::vector<std::uint32_t> lines(reads / kBatch * kBatch);
  static_assert(kLines <= std::uint64_t{1} << 32);
  for (std::uint32_t& line : lines) line = static_cast<std::uint32_t>(random() % kLines);
  std::uint64_t sum = 0;
  const double ns = ns_each(lines.size(), [&] {
    for (std::size_t begin = 0; begin < lines.size(); begin += kBatch) {
      const auto batch = std::span(lines).subspan(begin, kBatch);
      for (const std::uint32_t line : batch) __builtin_prefetch(&lines_[line]);
      for (const std::uint32_t line : batch) sum += lines_[line].next;
    }
  });
  benchmark::DoNotOptimize(sum);
  return ns;
}

StringSet set_of(const Ids& ids) {
  StringSet set;
  set.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) set.emplace(ids[i]);
  return set;
}

SetTimes SetTimes::measure(const Ids& ids, const Ids& fresh, const Ids& known) {
  StringSet set;
  set.reserve(ids.size());
  SetTimes times;
  times.insert_ns = ns_each(ids.size(), [&] {
    for (std::size_t i = 0; i < ids.size(); ++i) set.emplace(ids[i]);
  });
  times.fresh_ns = look_up_ns(set, fresh);
  times.known_ns = look_up_ns(set, known);
  return times;
}

void put_yardsticks(benchmark::State& state, double ns, double dram_read_ns, double set_ns) {
  state.counters["ns"] = ns;
  state.counters["dram_read_ns"] = dram_read_ns;
  state.counters["dram_reads"] = ns / dram_read_ns;
  if (set_ns != 0) state.counters["x_unordered_set"] = set_ns / ns;
}

}  // namespace oncelog::bench
