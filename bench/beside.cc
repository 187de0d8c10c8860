#include "beside.h"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "lmdb/handles.h"
#include "report.h"
#include "scratch_store.h"

namespace oncelog::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kBatch = 64;
constexpr int kRepetitions = 3;
constexpr std::size_t kTransactions = 500;
constexpr std::size_t kValueBytes = 100;
constexpr milliseconds kLease{60'000};

double seconds_of(const auto& work) {
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Calls one(ids) for the batches of [begin, end).
void each_batch(const Ids& ids, std::size_t begin, std::size_t end, const auto& one) {
  Batch<kBatch> batch;
  for (std::size_t i = begin; i < end; i += kBatch) {
    const auto all = batch.of(ids, i);
    one(all.first(std::min(all.size(), end - i)));
  }
}

void mark(const Scope& scope, const Ids& ids, bool batches, std::size_t begin, std::size_t end) {
  if (!batches) {
    for (std::size_t i = begin; i < end; ++i) benchmark::DoNotOptimize(scope.mark(ids[i]));
    return;
  }
  std::array<Marked, kBatch> marked;
  each_batch(ids, begin, end,
             [&](std::span<const std::string_view> some) { scope.mark(some, std::span(marked).first(some.size())); });
}

void claim(const Scope& scope, const Ids& ids, bool batches, std::size_t begin, std::size_t end) {
  if (!batches) {
    for (std::size_t i = begin; i < end; ++i) benchmark::DoNotOptimize(scope.begin(ids[i], kLease).complete());
    return;
  }
  each_batch(ids, begin, end, [&](std::span<const std::string_view> some) {
    benchmark::DoNotOptimize(scope.begin(some, kLease).complete());
  });
}

/// Fills stores with one(scope, begin, end) of the one half of the ids and other() of the other, by turns: counters are
/// the nanoseconds that each took for one of its ids, and how many of the one's times the other took.
void run_by_turns(benchmark::State& state, const Settings& settings, const Ids& ids, const char* one_ns,
                  const auto& one, const char* other_ns, const auto& other, const char* per_one) {
  for (auto _ : state) {
    ScratchStore store(settings, Live::disk, ids.size());
    const Scope& scope = store.scope();
    scope.begin("the first claim of all", kLease).abandon();  // Numbers the tokens, on disk.
    double of_one = 0;
    double of_other = 0;
    store.fill(ids.size(), ScratchStore::kBuckets, [&](std::size_t begin, std::size_t end) {
      const std::size_t middle = begin + (end - begin) / 2;
      of_one += seconds_of([&] { one(scope, begin, middle); });
      of_other += seconds_of([&] { other(scope, middle, end); });
    });
    state.SetIterationTime(of_one + of_other);
    if (store.store().metrics().ids != ids.size()) state.SkipWithError("the store does not hold the ids");
    const double half = static_cast<double>(ids.size()) / 2;
    state.counters[one_ns] = of_one * 1e9 / half;
    state.counters[other_ns] = of_other * 1e9 / half;
    state.counters[per_one] = of_other / of_one;
  }
}

void run_claims(benchmark::State& state, const Settings& settings, bool batches) {
  const Ids ids(std::uint64_t{4} << 40, settings.ids);
  run_by_turns(
      state, settings, ids, "mark_ns",
      [&](const Scope& scope, std::size_t begin, std::size_t end) { mark(scope, ids, batches, begin, end); },
      "claim_ns",
      [&](const Scope& scope, std::size_t begin, std::size_t end) { claim(scope, ids, batches, begin, end); },
      "per_mark");
}

void run_once(benchmark::State& state, const Settings& settings) {
  const Ids ids(std::uint64_t{6} << 40, settings.ids);
  run_by_turns(
      state, settings, ids, "claim_ns",
      [&](const Scope& scope, std::size_t begin, std::size_t end) { claim(scope, ids, false, begin, end); }, "once_ns",
      [&](const Scope& scope, std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i)
          benchmark::DoNotOptimize(scope.once(ids[i], {}, [] { return std::string(); }));
      },
      "per_claim");
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

/// LMDB as an application would use it by itself: a table of its entries, and one of what it has processed, in order.
struct BareLmdb {
  explicit BareLmdb(const Settings& settings)
      : dir(settings.store_dir), env(dir.path(), MDB_NOTLS, std::uint64_t{1} << 30, 16, 4) {
    internal::lmdb::WriteTxn txn(env);
    entries = txn.open_table("entries", MDB_CREATE);
    processed = txn.open_table("processed", MDB_CREATE | MDB_INTEGERKEY);
    txn.commit();
  }

  void put(std::string_view key, std::string_view value, std::uint64_t number) {
    static constexpr std::array<std::byte, 64> kMark{};
    internal::lmdb::WriteTxn txn(env);
    txn.put(entries, internal::lmdb::to_val(internal::lmdb::to_bytes(key)), internal::lmdb::to_bytes(value));
    txn.put(processed, internal::lmdb::to_val(number), kMark, MDB_APPEND);
    txn.commit();
  }

  ScratchDir dir;
  internal::lmdb::Env env;
  MDB_dbi entries = 0;
  MDB_dbi processed = 0;
};

void run_transactions(benchmark::State& state, const Settings& settings) {
  const Ids ids(std::uint64_t{5} << 40, kTransactions);
  const std::string value(kValueBytes, 'v');
  for (auto _ : state) {
    ScratchStore store(settings, Live::disk, kDefaultExpectedIds);
    BareLmdb lmdb(settings);
    const Scope& scope = store.scope();
    scope.begin("the first claim of all", kLease).abandon();
    std::vector<double> transact;
    std::vector<double> bare;
    for (std::size_t i = 0; i < kTransactions; ++i) {
      transact.push_back(seconds_of([&] {
        store.store().transact([&](Transaction& transaction) {
          if (transaction.mark(scope, ids[i]) == Verdict::fresh) transaction.put("entries", ids[i], value);
        });
      }));
      bare.push_back(seconds_of([&] { lmdb.put(ids[i], value, i); }));
    }
    if (store.store().metrics().ids != kTransactions) state.SkipWithError("the store does not hold the ids");
    if (store.store().get("entries", ids[kTransactions - 1]) != value) state.SkipWithError("an entry is missing");
    const double ours = median(transact);
    const double theirs = median(bare);
    state.SetIterationTime(ours * kTransactions);
    state.counters["transact_us"] = ours * 1e6;
    state.counters["lmdb_us"] = theirs * 1e6;
    state.counters["of_lmdb"] = theirs / ours;
  }
}

}  // namespace

std::string claim_name(const Settings& settings, bool batches) {
  return fmt::format("claim/begin_and_complete/{}/fresh/threads:1/ids:{}x36B/buckets:{}/ack:host/live:disk/beside:mark",
                     batches ? "batches:64" : "one_by_one", settings.ids, ScratchStore::kBuckets);
}

std::string once_name(const Settings& settings) {
  return fmt::format("once/nothing_to_do/fresh/threads:1/ids:{}x36B/buckets:{}/ack:host/live:disk/beside:claim",
                     settings.ids, ScratchStore::kBuckets);
}

std::string transact_name() {
  return fmt::format("transact/mark_and_put/threads:1/ids:{}x36B/values:{}B/fsynced/live:disk/beside:lmdb",
                     kTransactions, kValueBytes);
}

void register_beside(const Settings& settings) {
  for (const bool batches : {false, true}) {
    add_row(claim_name(settings, batches), kRepetitions,
            [&settings, batches](benchmark::State& state) { run_claims(state, settings, batches); });
  }
  add_row(once_name(settings), kRepetitions, [&settings](benchmark::State& state) { run_once(state, settings); });
  add_row(transact_name(), kRepetitions, [&settings](benchmark::State& state) { run_transactions(state, settings); });
}

}  // namespace oncelog::bench
