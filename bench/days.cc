#include "days.h"

#include <libpq-fe.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include <oncelog/oncelog.h>
#include <oncelog/remote.h>

#include "latencies.h"
#include "workload.h"

namespace oncelog::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBatch = 100;

/// The first cell of an answer, on the store's own connection.
double ask(const Store& store, const char* question) {
  double number = 0;
  store.transact([&](Transaction& transaction) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(remote::connection(transaction), question),
                                                               &PQclear);
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) throw std::runtime_error(PQresultErrorMessage(result.get()));
    number = std::strtod(PQgetvalue(result.get(), 0, 0), nullptr);
  });
  return number;
}

double table_bytes(const Store& store) {
  return ask(store, "select sum(pg_relation_size(oid)) from pg_class where relkind = 'r' and relname like 'entries_%'");
}
double index_bytes(const Store& store) {
  return ask(store,
             "select sum(pg_relation_size(indexrelid)) from pg_index join pg_class on pg_class.oid = indrelid "
             "where relkind = 'r' and relname like 'entries_%'");
}
double statistic(const Store& store, const char* name) {
  const std::string question =
      std::string("select sum(") + name + ") from pg_stat_all_tables where relname like 'entries_%'";
  return ask(store, question.c_str());
}

}  // namespace

void run_days(benchmark::State& state, const std::string& address, const Days& days) {
  for (auto _ : state) {
    const Store store = remote::open(address, {.retention = days.day});
    const Scope scope = store.scope("bench");
    const auto begin = Clock::now();
    Latencies latencies;
    double early = 0;  // The most bytes in the third and fourth day, once all slices have been in use,
    double late = 0;   // and in the last two.
    std::uint64_t next = 0;
    std::vector<Marked> marked(kBatch);
    Batch<kBatch> batch;
    for (unsigned second = 0; second < days.count * days.day.count(); ++second) {
      for (std::size_t i = 0; i < days.marks_a_second; i += kBatch) {
        const Ids ids(next, kBatch);
        const auto due = begin + std::chrono::nanoseconds(next * 1'000'000'000 / days.marks_a_second);
        std::this_thread::sleep_until(due);
        const auto before = Clock::now();
        scope.mark(batch.of(ids, 0), marked);
        latencies.record(static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - before).count()));
        next += kBatch;
      }
      const double bytes = table_bytes(store) + index_bytes(store);
      const auto day = static_cast<unsigned>(second / days.day.count());
      if (day == 2 || day == 3) early = std::max(early, bytes);
      if (day + 2 >= days.count) late = std::max(late, bytes);
    }
    state.SetIterationTime(std::chrono::duration<double>(Clock::now() - begin).count());
    constexpr double kMiB = 1 << 20;
    state.counters["MiB_days_3_4"] = early / kMiB;
    state.counters["MiB_last_2"] = late / kMiB;
    state.counters["table_MiB"] = table_bytes(store) / kMiB;
    state.counters["index_MiB"] = index_bytes(store) / kMiB;
    state.counters["dead_rows"] = statistic(store, "n_dead_tup");
    state.counters["autovacuums"] = statistic(store, "autovacuum_count");
    state.counters["deleted_rows"] = statistic(store, "n_tup_del");
    state.counters["batch_p50_ms"] = latencies.quantile_ns(0.5) / 1e6;
    state.counters["batch_p99_ms"] = latencies.quantile_ns(0.99) / 1e6;
    state.counters["batch_longest_ms"] = static_cast<double>(latencies.max_ns()) / 1e6;
  }
}

}  // namespace oncelog::bench
