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

void run_claims(benchmark::State& state, const Settings& settings, bool batches) {
  const Ids ids(std::uint64_t{4} << 40, settings.ids);
  for (auto _ : state) {
    ScratchStore store(settings, Live::disk, settings.ids);
    const Scope& scope = store.scope();
    scope.begin("the first claim of all", kLease).abandon();  // Numbers the tokens, on disk.
    double marking = 0;
    double claiming = 0;
    store.fill(settings.ids, ScratchStore::kBuckets, [&](std::size_t begin, std::size_t end) {
      const std::size_t middle = begin + (end - begin) / 2;
      marking += seconds_of([&] { mark(scope, ids, batches, begin, middle); });
      claiming += seconds_of([&] { claim(scope, ids, batches, middle, end); });
    });
    state.SetIterationTime(marking + claiming);
    if (store.store().metrics().ids != settings.ids) state.SkipWithError("the store does not hold the ids");
    const double half = static_cast<double>(settings.ids) / 2;
    state.counters["mark_ns"] = marking * 1e9 / half;
    state.counters["claim_ns"] = claiming * 1e9 / half;
    state.counters["per_mark"] = claiming / marking;
  }
}

void run_once(benchmark::State& state, const Settings& settings) {
  const Ids ids(std::uint64_t{6} << 40, settings.ids);
  for (auto _ : state) {
    ScratchStore store(settings, Live::disk, settings.ids);
    const Scope& scope = store.scope();
    scope.begin("the first claim of all", kLease).abandon();
    double claiming = 0;
    double running = 0;
    store.fill(settings.ids, ScratchStore::kBuckets, [&](std::size_t begin, std::size_t end) {
      const std::size_t middle = begin + (end - begin) / 2;
      claiming += seconds_of([&] { claim(scope, ids, false, begin, middle); });
      running += seconds_of([&] {
        for (std::size_t i = middle; i < end; ++i) {
          benchmark::DoNotOptimize(scope.once(ids[i], {}, [] { return std::string(); }));
        }
      });
    });
    state.SetIterationTime(claiming + running);
    if (store.store().metrics().ids != settings.ids) state.SkipWithError("the store does not hold the ids");
    const double half = static_cast<double>(settings.ids) / 2;
    state.counters["claim_ns"] = claiming * 1e9 / half;
    state.counters["once_ns"] = running * 1e9 / half;
    state.counters["per_claim"] = running / claiming;
  }
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
